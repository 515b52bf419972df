import { ServiceError } from '../base/errors.ts';
import { createLogger, type LogLevel } from '../base/logger.ts';
import { connectParent, type ParentLink } from '../base/process/ipc.ts';
import { localCertificate } from '../rtc-client/dtls-session.ts';
import { SpareBrowser } from './browser/spare-browser.ts';
import { EgressRecord, decodeInfo, encodeInfo } from './egress-record.ts';
import { EgressSession } from './egress-session.ts';
import type { FromHandler, HandlerJob, ToHandler } from './handler-messages.ts';
import { sourcesWith } from './sources/create-source.ts';
import { createStorage } from './uploads/storage.ts';

/**
 * The process of one egress job. It does nothing until its service sends the job, and ends when the job has ended or
 * the service is gone (then it still finishes the recording).
 */
const EXIT_TIMEOUT_MS = 5_000;

let session: EgressSession | undefined;
const spareBrowser = new SpareBrowser();

const parent: ParentLink<FromHandler> = connectParent<ToHandler, FromHandler>({
  onMessage: (message) => {
    switch (message.type) {
      case 'warm_browser':
        spareBrowser.warmUp(message.browser, createLogger({ name: 'egress-handler' }));
        return;
      case 'stop':
        session?.stop(message.reason);
        return;
      case 'update_stream':
        void updateStream(message.requestId, message.add, message.remove);
        return;
      case 'start':
        if (session === undefined) {
          runJob(message.job).catch((error: unknown) => {
            createLogger().error({ err: error }, 'egress handler failed');
            process.exitCode = 1;
            parent.close();
          });
        }
    }
  },
  onParentGone: end,
});

// The service decides about Ctrl-C; a signal to this process alone means "finish what you have".
process.on('SIGINT', () => undefined);
process.on('SIGTERM', end);

/** A job finishes what it has; a process that still waits for one has nothing to finish. */
function end(): void {
  if (session !== undefined) {
    session.stop('killed');
    return;
  }
  void spareBrowser.close().finally(() => process.exit(0));
}

async function updateStream(requestId: number, add: string[], remove: string[]): Promise<void> {
  try {
    await session?.updateStreams(add, remove);
    parent.send({ type: 'stream_updated', requestId });
  } catch (cause) {
    const { code, message } = ServiceError.from(cause);
    parent.send({ type: 'stream_updated', requestId, error: { code, message } });
  }
}

async function runJob(job: HandlerJob): Promise<void> {
  const { egress } = job;
  // What `ps` shows: whose process this is.
  process.title = `egress-handler ${egress.egressId}`;
  const logger = createLogger({ level: job.logLevel as LogLevel, name: 'egress-handler' }).child({
    egressId: egress.egressId,
    room: egress.roomName,
  });
  const record = new EgressRecord(decodeInfo(job.info), (info) => {
    parent.send({ type: 'update', info: encodeInfo(info) });
  });
  session = new EgressSession({
    egress,
    record,
    tools: job.tools,
    workDir: job.workDir,
    rescueDir: job.rescueDir,
    createStorage,
    createSource: sourcesWith(spareBrowser.open),
    logger,
    onSpool: (spool, track) => {
      parent.send({ type: 'spool', spool, track });
    },
  });
  try {
    await session.prepare();
    parent.send({ type: 'prepared' });
    await session.run();
  } catch (error) {
    logger.warn({ err: error }, 'egress refused before it started');
    record.fail(error);
  } finally {
    // Lets the last message out. Nothing should keep the process alive now; what does is not waited for.
    parent.close();
    setTimeout(() => process.exit(), EXIT_TIMEOUT_MS).unref();
  }
}

process.title = 'egress-handler (spare)';
parent.ready();
// Kept for the process: whatever joins a room needs it.
void localCertificate();
