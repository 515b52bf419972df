import { ServiceError } from '../../base/errors.ts';

/** What the first bytes of an Opus packet say, RFC 6716 section 3.1 and 3.2. */
export type OpusPacketInfo = {
  channels: 1 | 2;
  frames: number;
  frameDurationUs: number;
  durationUs: number;
};

/** The longest packet RFC 6716 allows. */
const MAX_DURATION_US = 120_000;

/** RFC 6716 table 2: SILK-only, hybrid, CELT-only configurations. */
function frameDurationUs(config: number): number {
  if (config < 12) {
    return [10_000, 20_000, 40_000, 60_000][config & 3] ?? 20_000;
  }
  if (config < 16) {
    return [10_000, 20_000][config & 1] ?? 20_000;
  }
  return [2_500, 5_000, 10_000, 20_000][config & 3] ?? 20_000;
}

/** @throws ServiceError malformed when it is empty, cut off or longer than 120 ms. */
export function parseOpusPacket(packet: Uint8Array): OpusPacketInfo {
  const toc = packet[0];
  if (toc === undefined) {
    throw new ServiceError('malformed', 'Opus packet is empty');
  }
  const frames = frameCount(toc, packet);
  const perFrameUs = frameDurationUs(toc >> 3);
  const durationUs = frames * perFrameUs;
  if (frames === 0 || durationUs > MAX_DURATION_US) {
    throw new ServiceError('malformed', `Opus packet claims ${frames} frames of ${perFrameUs} µs`);
  }
  return { channels: (toc & 4) === 0 ? 1 : 2, frames, frameDurationUs: perFrameUs, durationUs };
}

function frameCount(toc: number, packet: Uint8Array): number {
  switch (toc & 3) {
    case 0:
      return 1;
    case 1:
    case 2:
      return 2;
    default:
      if (packet.length < 2) {
        throw new ServiceError('malformed', 'Opus packet is cut off before its frame count');
      }
      return (packet[1] ?? 0) & 0x3f;
  }
}
