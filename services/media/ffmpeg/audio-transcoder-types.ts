import type { SafeEmitter } from '../../base/events.ts';
import type { Logger } from '../../base/logger.ts';
import type { AudioFormat, EncodedPacket } from '../../model/packet.ts';
import type { FramedAudioCodec } from '../codecs/audio-frames.ts';

export type AudioTranscodeInput =
  /** Interleaved signed 16-bit little endian. */
  | { codec: 'pcm_s16le'; sampleRateHz: number; channels: number }
  /** G.711, interleaved. */
  | { codec: 'pcma' | 'pcmu'; sampleRateHz: number; channels: number }
  /** Whole frames; `description` is STREAMINFO, and only FLAC has one. */
  | { codec: FramedAudioCodec; sampleRateHz: number; channels: number; description?: Uint8Array }
  /** Raw AAC frames; `description` is the AudioSpecificConfig. */
  | { codec: 'aac'; sampleRateHz: number; channels: number; description: Uint8Array };

/** Opus is always 48 kHz (RFC 7845 section 4.2). */
export type AudioTranscodeOutput =
  | { codec: 'opus'; sampleRateHz: 48_000; channels: 1 | 2; bitrateKbps: number }
  | { codec: 'aac'; sampleRateHz: number; channels: 1 | 2; bitrateKbps: number };

export type AudioTranscoderEvents = {
  /** Once, before the first packet. */
  format: AudioFormat;
  /** ptsUs is when the packet's first sample is heard: encoder delay is already taken off. */
  packet: EncodedPacket;
  /** Last event. `error` is set when ffmpeg ended by itself. */
  closed: { error?: Error };
};

export type AudioTranscoderOptions = {
  ffmpegPath: string;
  input: AudioTranscodeInput;
  output: AudioTranscodeOutput;
  /**
   * A mix of sounds that were compressed already and that nobody waits for: Opus at the complexity for such sound, and
   * output in bursts of about 200 ms, which is a tenth of the wake-ups.
   */
  mixed?: boolean;
  logger: Logger;
  signal?: AbortSignal;
};

export type AudioTranscoder = {
  readonly events: SafeEmitter<AudioTranscoderEvents>;
  /**
   * One AAC frame, whole frames of another codec, or any whole number of PCM samples; an EncodedPacket fits. Never blocks: when ffmpeg is more than
   * 4 MB behind, input is dropped and counted, and the clock re-anchors behind the hole.
   */
  write(chunk: { ptsUs: number; data: Uint8Array }): void;
  readonly droppedChunks: number;
  /** Flushes what was written, emits the last packets, ends ffmpeg. Idempotent. */
  close(): Promise<void>;
};
