import type { AudioFormat, EncodedPacket } from '../../model/packet.ts';

const FRAME_US = 20_000;

/** One 20 ms fullband CELT frame of digital silence (RFC 6716 section 3.1: configuration 31, one frame). */
function silentFrame(channels: number): Uint8Array {
  return Uint8Array.of(channels === 1 ? 0xf8 : 0xfc, 0xff, 0xfe);
}

/** Silent packets from `fromUs` up to `toUs`, none when the hole is not larger than `toleranceUs`. */
export function* silenceFor(
  channels: number,
  fromUs: number,
  toUs: number,
  toleranceUs: number,
): Generator<EncodedPacket> {
  for (let ptsUs = fromUs; toUs - ptsUs > toleranceUs; ptsUs += FRAME_US) {
    yield {
      kind: 'audio',
      ptsUs,
      dtsUs: ptsUs,
      durationUs: FRAME_US,
      key: true,
      data: silentFrame(channels),
    };
  }
}

const FRAME_US_BY_CONFIG = [
  ...[10_000, 20_000, 40_000, 60_000], // SILK narrowband
  ...[10_000, 20_000, 40_000, 60_000], // SILK medium band
  ...[10_000, 20_000, 40_000, 60_000], // SILK wideband
  ...[10_000, 20_000, 10_000, 20_000], // hybrid
  ...[2_500, 5_000, 10_000, 20_000], // CELT narrowband
  ...[2_500, 5_000, 10_000, 20_000], // CELT wideband
  ...[2_500, 5_000, 10_000, 20_000], // CELT super-wideband
  ...[2_500, 5_000, 10_000, 20_000], // CELT fullband
];

/** How long an Opus packet sounds, from its table-of-contents byte (RFC 6716 section 3.1 and 3.2); 0 when empty. */
export function opusDurationUs(data: Uint8Array): number {
  const toc = data[0];
  if (toc === undefined) {
    return 0;
  }
  const frames = [1, 2, 2, (data[1] ?? 0) & 63][toc & 3] ?? 0;
  return frames * (FRAME_US_BY_CONFIG[toc >> 3] ?? 0);
}

/** Identification header of an Ogg Opus stream (RFC 7845 section 5.1); a live stream has nothing to skip. */
export function opusHead(format: AudioFormat): Uint8Array {
  const head = Buffer.alloc(19);
  head.write('OpusHead', 0, 'latin1');
  head.writeUInt8(1, 8);
  head.writeUInt8(format.channels, 9);
  head.writeUInt32LE(format.sampleRateHz, 12);
  return head;
}
