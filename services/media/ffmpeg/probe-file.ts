import ffmpeg from 'fluent-ffmpeg';
import { ServiceError, messageOf } from '../../base/errors.ts';

export type ProbedStream = {
  kind: 'video' | 'audio' | 'other';
  codec: string;
  width: number;
  height: number;
  sampleRateHz: number;
  channels: number;
};
export type ProbedFile = { format: string; durationUs: number; sizeBytes: number; streams: ProbedStream[] };

/**
 * What ffprobe reads from a file: durations 0 when the container does not tell.
 * @throws ServiceError dataloss when the file cannot be read as media.
 */
export function probeFile(ffprobePath: string, filePath: string): Promise<ProbedFile> {
  return new Promise((resolve, reject) => {
    ffmpeg(filePath)
      .setFfprobePath(ffprobePath)
      .ffprobe((error: unknown, data) => {
        if (error !== null && error !== undefined) {
          reject(
            new ServiceError('dataloss', `${filePath} is not readable as media: ${messageOf(error)}`, {
              cause: error,
            }),
          );
          return;
        }
        resolve({
          format: data.format.format_name ?? '',
          durationUs: Math.round(numberOf(data.format.duration) * 1e6),
          sizeBytes: numberOf(data.format.size),
          streams: data.streams.map((stream) => ({
            kind:
              stream.codec_type === 'video' || stream.codec_type === 'audio' ? stream.codec_type : 'other',
            codec: stream.codec_name ?? '',
            width: stream.width ?? 0,
            height: stream.height ?? 0,
            sampleRateHz: numberOf(stream.sample_rate),
            channels: stream.channels ?? 0,
          })),
        });
      });
  });
}

/** ffprobe writes "N/A" where it does not know. */
function numberOf(value: unknown): number {
  const number = Number(value);
  return Number.isFinite(number) ? number : 0;
}
