import type { AudioCodec, VideoCodec } from '../model/packet.ts';
import type { SdpCodec } from '../protocol/sdp.ts';
import { CODEC_BY_NAME, type PublishedTrack } from './published-track.ts';

/** Baseline and constrained baseline: what every WebRTC client decodes, best first. */
const H264_PROFILES = ['42e0', '4200'];

/** The one codec a publisher gets to send a track with: the announced one, else our first in its own order. */
export function chooseFromPublisher(
  offered: readonly SdpCodec[],
  track: Pick<PublishedTrack, 'announcedCodec' | 'kind'>,
): SdpCodec | undefined {
  const usable = offered.filter((codec) => CODEC_BY_NAME.has(codec.name.toLowerCase()));
  const announced = usable.filter((codec) => codec.name.toLowerCase() === track.announcedCodec);
  return bestH264(announced) ?? announced[0] ?? bestH264(firstName(usable)) ?? usable[0];
}

/** The subscriber's payload type for the publisher's codec: same format parameters first, then same packing. */
export function chooseForSubscriber(
  offered: readonly SdpCodec[],
  name: VideoCodec | AudioCodec,
  fmtp: string,
): SdpCodec | undefined {
  const same = offered.filter((codec) => codec.name.toLowerCase() === name);
  return (
    same.find((codec) => sameParameters(codec.fmtp, fmtp)) ??
    same.find(
      (codec) =>
        name === 'h264' && packetizationMode(codec.fmtp) === packetizationMode(fmtp) && isBaseline(codec),
    ) ??
    same[0]
  );
}

function firstName(codecs: readonly SdpCodec[]): SdpCodec[] {
  return codecs.filter((codec) => codec.name === codecs[0]?.name);
}

function bestH264(codecs: readonly SdpCodec[]): SdpCodec | undefined {
  for (const profile of H264_PROFILES) {
    const found = codecs.find(
      (codec) =>
        codec.name.toLowerCase() === 'h264' &&
        packetizationMode(codec.fmtp) === '1' &&
        parameter(codec.fmtp, 'profile-level-id').startsWith(profile),
    );
    if (found !== undefined) {
      return found;
    }
  }
  return undefined;
}

function isBaseline(codec: SdpCodec): boolean {
  return H264_PROFILES.some((profile) => parameter(codec.fmtp, 'profile-level-id').startsWith(profile));
}

function packetizationMode(fmtp: string): string {
  const mode = parameter(fmtp, 'packetization-mode');
  return mode === '' ? '0' : mode;
}

function parameter(fmtp: string, name: string): string {
  for (const part of fmtp.split(';')) {
    const [key = '', value = ''] = part.trim().split('=');
    if (key.toLowerCase() === name) {
      return value.toLowerCase();
    }
  }
  return '';
}

function sameParameters(a: string, b: string): boolean {
  const normal = (fmtp: string): string =>
    fmtp
      .split(';')
      .map((part) => part.trim().toLowerCase())
      .filter((part) => part !== '')
      .sort()
      .join(';');
  return normal(a) === normal(b);
}
