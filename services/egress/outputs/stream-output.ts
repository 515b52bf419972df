import type { StreamTarget } from '../../model/egress-plan.ts';
import type { OutputContext } from './output-context.ts';
import { StreamGroup } from './stream-group.ts';

/** The streams of a job. They end it when they were all it had; otherwise the other outputs go on. */
export function openStreamOutput(context: OutputContext, target: StreamTarget): StreamGroup {
  const { kinds, ffmpegPath, workDir, logger, record, endJob } = context;
  const { file, segments, images } = context.egress.outputs;
  const isAlone = file === undefined && segments === undefined && images.length === 0;
  const group = new StreamGroup({
    ...{ kinds, ffmpegPath, workDir, logger },
    protocol: target.protocol,
    urls: target.urls,
    onChange: (results) => {
      record.setStreams(results);
    },
    onEmpty: (end) => {
      if (isAlone) {
        endJob(end.reason, end.reason === 'failure' ? end.error : undefined);
      }
    },
    onRefused: (error) => {
      endJob('failure', error);
    },
  });
  record.setStreams(group.results);
  logger.info({ streams: group.results.map(({ url }) => url) }, 'streaming');
  return group;
}
