import { ServiceError } from '../../base/errors.ts';
import type { AudioCodec, VideoCodec } from '../../model/packet.ts';
import type { Depacketizer } from './depacketizer-types.ts';
import { Av1Depacketizer } from './av1-depacketizer.ts';
import { H264Depacketizer } from './h264-depacketizer.ts';
import { H265Depacketizer } from './h265-depacketizer.ts';
import { OpusDepacketizer } from './opus-depacketizer.ts';
import { Vp8Depacketizer } from './vp8-depacketizer.ts';
import { Vp9Depacketizer } from './vp9-depacketizer.ts';

const DEPACKETIZERS: Partial<Record<VideoCodec | AudioCodec, () => Depacketizer>> = {
  h264: () => new H264Depacketizer(),
  h265: () => new H265Depacketizer(),
  vp8: () => new Vp8Depacketizer(),
  vp9: () => new Vp9Depacketizer(),
  av1: () => new Av1Depacketizer(),
  opus: () => new OpusDepacketizer(),
};

/** @throws ServiceError unimplemented for a codec without an RTP payload format here. */
export function createDepacketizer(codec: VideoCodec | AudioCodec): Depacketizer {
  const create = DEPACKETIZERS[codec];
  if (create === undefined) {
    throw new ServiceError('unimplemented', `receiving ${codec} over RTP is not supported`);
  }
  return create();
}
