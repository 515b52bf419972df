import { ServiceError } from '../../base/errors.ts';
import type { AudioCodec, TrackFormat, VideoCodec } from '../../model/packet.ts';
import type { Container } from './muxer-types.ts';

/** What each container is written with. */
export const CONTAINER_CODECS: Readonly<Record<Container, readonly (VideoCodec | AudioCodec)[]>> = {
  'mp4-fragmented': ['h264', 'aac', 'opus'],
  webm: ['vp8', 'vp9'],
  ogg: ['opus'],
};

/** @throws ServiceError unimplemented naming container and codec. */
export function assertHolds(container: Container, format: TrackFormat): void {
  const codecs = CONTAINER_CODECS[container];
  if (!codecs.includes(format.codec)) {
    throw new ServiceError(
      'unimplemented',
      `${container} recordings hold ${codecs.join(', ')}, not ${format.codec}`,
    );
  }
}
