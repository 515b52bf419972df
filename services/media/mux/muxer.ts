import { Fmp4Muxer } from './fmp4-muxer.ts';
import { MediabunnyMuxer } from './mediabunny-muxer.ts';
import type { Muxer, MuxerOptions } from './muxer-types.ts';

/** @throws ServiceError unimplemented when the container cannot hold these tracks. */
export function createMuxer(options: MuxerOptions): Muxer {
  switch (options.container) {
    case 'mp4-fragmented':
      return new Fmp4Muxer(options);
    case 'webm':
    case 'ogg':
      return new MediabunnyMuxer(options);
  }
}
