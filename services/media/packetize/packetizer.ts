import { ServiceError } from '../../base/errors.ts';
import type { AudioCodec, VideoCodec } from '../../model/packet.ts';
import { Av1Packetizer } from './av1-packetizer.ts';
import { H264Packetizer } from './h264-packetizer.ts';
import { H265Packetizer } from './h265-packetizer.ts';
import { OpusPacketizer } from './opus-packetizer.ts';
import type { Packetizer } from './packetizer-types.ts';
import { Vp8Packetizer } from './vp8-packetizer.ts';
import { Vp9Packetizer } from './vp9-packetizer.ts';

const PACKETIZERS: Partial<Record<VideoCodec | AudioCodec, () => Packetizer>> = {
  h264: () => new H264Packetizer(),
  h265: () => new H265Packetizer(),
  vp8: () => new Vp8Packetizer(),
  vp9: () => new Vp9Packetizer(),
  av1: () => new Av1Packetizer(),
  opus: () => new OpusPacketizer(),
};

/** @throws ServiceError unimplemented for a codec without an RTP payload format here. */
export function createPacketizer(codec: VideoCodec | AudioCodec): Packetizer {
  const create = PACKETIZERS[codec];
  if (create === undefined) {
    throw new ServiceError(
      'unimplemented',
      `publishing ${codec} over RTP is not supported: use h264, h265, vp8, vp9, av1 or opus`,
    );
  }
  return create();
}
