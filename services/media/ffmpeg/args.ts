import type { AudioTranscodeInput, AudioTranscodeOutput } from './audio-transcoder-types.ts';

/**
 * 5 of 10, as WebRTC uses on phones: a third less CPU than ffmpeg's 10. At 96 kbit/s stereo it lacks the analysis that
 * gives tonal sound more bits (measured: 111 instead of 133 kbit/s for chords, at 53 dB instead of 62 dB), which sound
 * that was AAC before does not miss. Sound that was not compressed yet gets 10.
 */
const OPUS_COMPLEXITY = { compressed: 5, plain: 10 } as const;
const PLAIN: ReadonlySet<AudioTranscodeInput['codec']> = new Set(['pcm_s16le', 'flac']);

const RAW_FORMATS = { pcm_s16le: 's16le', pcma: 'alaw', pcmu: 'mulaw' } as const;

/**
 * ffmpeg command lines as pure functions. `-probesize 32` opens a pipe after 60 ms instead of a second;
 * `-fflags nobuffer` is left out on purpose: it throws away the packets that were read while probing.
 */
export function audioTranscodeArgs(
  input: AudioTranscodeInput,
  output: AudioTranscodeOutput,
  mixed = false,
): string[] {
  return [
    ...['-v', 'error', '-threads', '1', '-probesize', '32'],
    ...inputArgs(input),
    ...outputArgs(output, input, mixed),
    'pipe:1',
  ];
}

function inputArgs(input: AudioTranscodeInput): string[] {
  switch (input.codec) {
    case 'pcm_s16le':
    case 'pcma':
    case 'pcmu':
      return [
        ...['-f', RAW_FORMATS[input.codec], '-ar', String(input.sampleRateHz)],
        ...['-ac', String(input.channels), '-i', 'pipe:0'],
      ];
    case 'aac':
    case 'mp3':
    case 'ac3':
    case 'eac3':
    case 'flac':
      return ['-f', input.codec, '-i', 'pipe:0'];
  }
}

function outputArgs(output: AudioTranscodeOutput, input: AudioTranscodeInput, mixed: boolean): string[] {
  const common = [
    ...['-map', '0:a:0', '-ar', String(output.sampleRateHz), '-ac', String(output.channels)],
    ...['-b:a', `${output.bitrateKbps}k`],
  ];
  switch (output.codec) {
    case 'opus':
      return [
        ...common,
        ...['-c:a', 'libopus', '-frame_duration', '20'],
        ...[
          '-compression_level',
          String(OPUS_COMPLEXITY[mixed || !PLAIN.has(input.codec) ? 'compressed' : 'plain']),
        ],
        ...['-f', 'ogg', '-page_duration', mixed ? '200000' : '20000', '-flush_packets', '1'],
      ];
    case 'aac':
      return [
        // Never blocks of a size: silence is a few bytes per frame, so a block would hold seconds of it back.
        ...[...common, '-c:a', 'aac', '-f', 'adts', '-flush_packets', '1'],
      ];
  }
}
