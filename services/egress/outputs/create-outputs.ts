import type { EgressOutput } from './output.ts';
import type { OutputContext } from './output-context.ts';
import { openFileOutput } from './file-output.ts';
import { openImageOutput } from './image-output.ts';
import { openStreamOutput } from './stream-output.ts';
import { openSegmentOutput } from './segment-output.ts';

/** Stream addresses come and go while a job runs. */
export type StreamControl = {
  /** @throws ServiceError invalid_argument or not_found; nothing has changed then. */
  update(add: readonly string[], remove: readonly string[]): Promise<void>;
};

export type JobOutputs = { all: EgressOutput[]; streams: StreamControl | undefined };

type Opened = { output: EgressOutput; streams?: StreamControl };
type OutputFactory = (context: OutputContext) => Promise<Opened>[];

/** One entry per kind of output; each opens what the request asks for. */
const FACTORIES: readonly OutputFactory[] = [
  (context) => {
    const { file } = context.egress.outputs;
    return file === undefined ? [] : [openFileOutput(context, file).then((output) => ({ output }))];
  },
  (context) => {
    const { segments } = context.egress.outputs;
    return segments === undefined
      ? []
      : [openSegmentOutput(context, segments).then((output) => ({ output }))];
  },
  (context) =>
    context.egress.outputs.images.map((target, index) =>
      openImageOutput(context, target, index).then((output) => ({ output })),
    ),
  (context) => {
    const { streams } = context.egress.outputs;
    const group = streams === undefined ? undefined : openStreamOutput(context, streams);
    return group === undefined ? [] : [Promise.resolve({ output: group, streams: group })];
  },
];

/** All outputs of a job, or none. @throws ServiceError of the first that cannot be opened. */
export async function createOutputs(context: OutputContext): Promise<JobOutputs> {
  const results = await Promise.allSettled(FACTORIES.flatMap((open) => open(context)));
  const opened = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const failed = results.find((result) => result.status === 'rejected');
  if (failed !== undefined) {
    await Promise.all(opened.map(({ output }) => output.close('another output could not be opened')));
    throw failed.reason;
  }
  return {
    all: opened.map(({ output }) => output),
    streams: opened.find(({ streams }) => streams !== undefined)?.streams,
  };
}
