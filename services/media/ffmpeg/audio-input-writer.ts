import { parseAacConfig } from '../codecs/aac.ts';
import { parseAudioFrames } from '../codecs/audio-frames.ts';
import { flacFileHeader } from '../codecs/flac.ts';
import { toAdts } from './adts.ts';
import { AudioTimeline } from './audio-timeline.ts';
import type { AudioTranscodeInput } from './audio-transcoder-types.ts';

/** How sound of one kind goes into ffmpeg's standard input. */
export type AudioInputWriter = {
  sampleRateHz: number;
  timeline: AudioTimeline;
  /** @throws ServiceError malformed. */
  samplesOf: (data: Uint8Array) => number;
  toBytes: (data: Uint8Array, skipSamples: number) => Uint8Array;
  silence: (samples: number) => Uint8Array;
};

/** Bytes of one sample, and what silence is made of. */
const PCM = {
  pcm_s16le: { bytes: 2, silence: 0 },
  pcma: { bytes: 1, silence: 0xd5 },
  pcmu: { bytes: 1, silence: 0xff },
} as const;

/** @throws ServiceError invalid_argument for an AAC configuration that ADTS cannot carry. */
export function createAudioInputWriter(input: AudioTranscodeInput): AudioInputWriter {
  switch (input.codec) {
    case 'pcm_s16le':
    case 'pcma':
    case 'pcmu': {
      const { bytes, silence } = PCM[input.codec];
      const bytesPerSample = input.channels * bytes;
      return {
        sampleRateHz: input.sampleRateHz,
        timeline: new AudioTimeline(input.sampleRateHz, 'fill'),
        samplesOf: (data) => Math.floor(data.length / bytesPerSample),
        toBytes: (data, skipSamples) => data.subarray(skipSamples * bytesPerSample),
        silence: (samples) => new Uint8Array(samples * bytesPerSample).fill(silence),
      };
    }
    case 'aac': {
      const config = parseAacConfig(input.description);
      toAdts(config, new Uint8Array()); // refuses here what no later frame could carry
      return {
        sampleRateHz: config.sampleRateHz,
        timeline: new AudioTimeline(config.sampleRateHz, 'jump'),
        samplesOf: () => config.frameSamples,
        toBytes: (data) => toAdts(config, data),
        silence: () => new Uint8Array(0),
      };
    }
    case 'mp3':
    case 'ac3':
    case 'eac3':
    case 'flac': {
      const { codec, sampleRateHz, description } = input;
      let head = codec === 'flac' && description !== undefined ? flacFileHeader(description) : undefined;
      return {
        sampleRateHz,
        timeline: new AudioTimeline(sampleRateHz, 'jump'),
        samplesOf: (data) => parseAudioFrames(codec, data).samples,
        toBytes(data) {
          const bytes = head === undefined ? data : Buffer.concat([head, data]);
          head = undefined;
          return bytes;
        },
        silence: () => new Uint8Array(0),
      };
    }
  }
}
