import type { AudioTranscodeInput, AudioTranscodeOutput } from './audio-transcoder-types.ts';

/**
 * ffmpeg command lines as pure functions. `-probesize 32` opens a pipe after 60 ms instead of a second;
 * `-fflags nobuffer` is left out on purpose: it throws away the packets that were read while probing.
 */
export function audioTranscodeArgs(input: AudioTranscodeInput, output: AudioTranscodeOutput): string[] {
  return ['-v', 'error', '-probesize', '32', ...inputArgs(input), ...outputArgs(output), 'pipe:1'];
}

function inputArgs(input: AudioTranscodeInput): string[] {
  switch (input.codec) {
    case 'pcm_s16le':
      return [
        ...['-f', 's16le', '-ar', String(input.sampleRateHz), '-ac', String(input.channels)],
        ...['-i', 'pipe:0'],
      ];
    case 'aac':
      return ['-f', 'aac', '-i', 'pipe:0'];
  }
}

function outputArgs(output: AudioTranscodeOutput): string[] {
  const common = [
    ...['-map', '0:a:0', '-ar', String(output.sampleRateHz), '-ac', String(output.channels)],
    ...['-b:a', `${output.bitrateKbps}k`],
  ];
  switch (output.codec) {
    case 'opus':
      return [
        ...common,
        ...['-c:a', 'libopus', '-frame_duration', '20'],
        ...['-f', 'ogg', '-page_duration', '20000', '-flush_packets', '1'],
      ];
    case 'aac':
      return [...common, '-c:a', 'aac', '-f', 'adts', '-flush_packets', '1'];
  }
}
