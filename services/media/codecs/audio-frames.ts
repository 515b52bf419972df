import { parseAc3Frames } from './ac3.ts';
import { parseFlacFrame } from './flac.ts';
import { parseMp3Frames } from './mpeg-audio.ts';

/** Codecs whose frames say themselves what they are. */
export type FramedAudioCodec = 'mp3' | 'ac3' | 'eac3' | 'flac';

/** What a piece of sound is, and how long. */
export type AudioFrames = { sampleRateHz: number; channels: number; samples: number };

/** One message of an encoder: whole frames. @throws ServiceError malformed. */
export function parseAudioFrames(codec: FramedAudioCodec, data: Uint8Array): AudioFrames {
  switch (codec) {
    case 'mp3':
      return parseMp3Frames(data);
    case 'ac3':
    case 'eac3':
      return parseAc3Frames(data);
    case 'flac':
      return parseFlacFrame(data);
  }
}
