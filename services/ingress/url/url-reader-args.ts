import type { ProbedFile, ProbedStream } from '../../media/ffmpeg/probe-file.ts';
import { ServiceError } from '../../base/errors.ts';
import type { VideoTarget } from '../../model/ingress.ts';
import { videoEncoderArgs, videoFilterArgs } from '../publish/video-transcoder-args.ts';
import type { UrlTarget } from './url-policy.ts';

export type ReadPlan = {
  video: 'copy' | 'transcode' | 'none';
  audio: 'copy' | 'transcode' | 'none';
};

/** What FLV carries and the pipelines behind it take. */
const COPIED = { video: 'h264', audio: 'aac' } as const;

/** @throws ServiceError invalid_argument when there is nothing to play. */
export function readPlan({ streams }: ProbedFile): ReadPlan {
  const treatment = (kind: 'video' | 'audio'): 'copy' | 'transcode' | 'none' => {
    const stream = streams.find((candidate: ProbedStream) => candidate.kind === kind);
    return stream === undefined ? 'none' : stream.codec === COPIED[kind] ? 'copy' : 'transcode';
  };
  const plan = { video: treatment('video'), audio: treatment('audio') };
  if (plan.video === 'none' && plan.audio === 'none') {
    throw new ServiceError('invalid_argument', 'the URL has neither picture nor sound', {
      blame: 'destination',
    });
  }
  return plan;
}

/** Where to read from, and that nothing but what was checked is opened on the way. */
export function inputArgs(target: UrlTarget): string[] {
  return target.kind === 'file'
    ? ['-protocol_whitelist', 'file,crypto,data', '-i', target.path]
    : [
        ...['-protocol_whitelist', 'http,https,tcp,tls,httpproxy,crypto,data'],
        ...['-rw_timeout', '15000000', '-i', target.url],
      ];
}

/** Plays the input at its own pace as FLV on stdout. */
export function urlReaderArgs(target: UrlTarget, plan: ReadPlan, picture: VideoTarget): string[] {
  const video = {
    none: ['-vn'],
    copy: ['-map', '0:v:0', '-c:v', 'copy'],
    transcode: ['-map', '0:v:0', '-vsync', '0', ...videoFilterArgs(picture), ...videoEncoderArgs(picture)],
  }[plan.video];
  const audio = {
    none: ['-an'],
    copy: ['-map', '0:a:0', '-c:a', 'copy'],
    transcode: ['-map', '0:a:0', '-c:a', 'aac', '-ar', '48000', '-ac', '2', '-b:a', '192k'],
  }[plan.audio];
  return [
    ...['-v', 'error', '-nostdin', '-re'],
    ...inputArgs(target),
    ...video,
    ...audio,
    ...['-f', 'flv', '-flvflags', 'no_duration_filesize', '-flush_packets', '1', 'pipe:1'],
  ];
}
