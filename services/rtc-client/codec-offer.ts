import type { AudioCodec, VideoCodec } from '../model/packet.ts';
import type { SdpCodec } from '../protocol/sdp.ts';

/** Payload types are the ones browsers use, so that captures read familiarly. */
const VIDEO_FEEDBACK = ['goog-remb', 'transport-cc', 'ccm fir', 'nack', 'nack pli'];
const AUDIO_FEEDBACK = ['nack'];

function video(name: string, payloadType: number, rtxPayloadType: number, fmtp: string): SdpCodec {
  return {
    payloadType,
    name,
    clockRateHz: 90_000,
    channels: 1,
    fmtp,
    feedback: VIDEO_FEEDBACK,
    rtxPayloadType,
  };
}

function h264(payloadType: number, rtxPayloadType: number, profile: string): SdpCodec {
  const fmtp = `level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=${profile}`;
  return video('H264', payloadType, rtxPayloadType, fmtp);
}

const VP8 = video('VP8', 96, 97, '');
const VP9 = video('VP9', 98, 99, 'profile-id=0');
/** Constrained baseline first: the profile every server accepts. */
const H264 = [
  h264(125, 107, '42e01f'),
  h264(102, 103, '42001f'),
  h264(104, 105, '4d001f'),
  h264(123, 118, '640032'),
];
/** Profile 0 (Main), which is all that browsers decode; AV1 RTP spec section 7.2. */
const AV1 = video('AV1', 45, 46, 'level-idx=5;profile=0;tier=0');
/** Main profile at level 3.1, as browsers write it (RFC 7798 section 7.1); the level of a stream is read from its SPS. */
const H265 = video('H265', 49, 50, 'level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST');
const OPUS: SdpCodec = {
  payloadType: 111,
  name: 'opus',
  clockRateHz: 48_000,
  channels: 2,
  fmtp: 'minptime=10;useinbandfec=1',
  feedback: AUDIO_FEEDBACK,
  rtxPayloadType: 0,
};
const OPUS_STEREO: SdpCodec = { ...OPUS, fmtp: `${OPUS.fmtp};stereo=1;sprop-stereo=1` };

export type ReceiveCodecs = Readonly<Record<'audio' | 'video', readonly SdpCodec[]>>;

/** RED is left out: the server then sends plain Opus. */
export const RECEIVE_CODECS: Readonly<Record<'recordable' | 'every', ReceiveCodecs>> = {
  recordable: { audio: [OPUS_STEREO], video: [VP8, ...H264, VP9] },
  every: { audio: [OPUS_STEREO], video: [VP8, ...H264, VP9, AV1, H265] },
};

/** What a section that publishes this codec offers; [] when there is no packetizer. */
export function publishCodecs(codec: VideoCodec | AudioCodec, channels: number): readonly SdpCodec[] {
  switch (codec) {
    case 'h264':
      // The stream's own profile may be higher; decoders read it from the SPS, servers only match this line.
      return H264.slice(0, 2);
    case 'vp8':
      return [VP8];
    case 'vp9':
      return [VP9];
    case 'av1':
      return [AV1];
    case 'h265':
      return [H265];
    case 'opus':
      return [channels > 1 ? OPUS_STEREO : OPUS];
    default:
      return [];
  }
}

const CODEC_BY_SDP_NAME: Readonly<Record<string, VideoCodec | AudioCodec>> = {
  vp8: 'vp8',
  vp9: 'vp9',
  h264: 'h264',
  h265: 'h265',
  av1: 'av1',
  opus: 'opus',
};

export function codecBySdpName(name: string): VideoCodec | AudioCodec | undefined {
  return CODEC_BY_SDP_NAME[name.toLowerCase()];
}
