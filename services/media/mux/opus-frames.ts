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

/** Identification header of an Ogg Opus stream (RFC 7845 section 5.1); a live stream has nothing to skip. */
export function opusHead(format: AudioFormat): Uint8Array {
  const head = Buffer.alloc(19);
  head.write('OpusHead', 0, 'latin1');
  head.writeUInt8(1, 8);
  head.writeUInt8(format.channels, 9);
  head.writeUInt32LE(format.sampleRateHz, 12);
  return head;
}
