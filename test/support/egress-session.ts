import { EgressInfo, type EgressStatus } from '@livekit/protocol';
import path from 'node:path';
import { ServiceError } from '../../services/base/errors.ts';
import { SafeEmitter } from '../../services/base/events.ts';
import { createLogger } from '../../services/base/logger.ts';
import { EgressRecord } from '../../services/egress/egress-record.ts';
import { EgressSession } from '../../services/egress/egress-session.ts';
import type { OutputSpool } from '../../services/egress/handler-messages.ts';
import type { EgressSource, EgressSourceEvents } from '../../services/egress/sources/source-types.ts';
import { localStorage } from '../../services/egress/uploads/local.ts';
import type { Storage } from '../../services/egress/uploads/storage.ts';
import type { EgressWork, StorageTarget, ValidatedEgress } from '../../services/model/egress.ts';
import type { EgressOutputs, FileTarget } from '../../services/model/egress-plan.ts';
import { DEFAULT_WISH } from '../../services/model/presets.ts';
import type { EncodedMedia } from './encoded-media.ts';

const logger = createLogger({ level: (process.env['TEST_LOG'] as 'info' | undefined) ?? 'silent' });

const TEMPLATE: EgressWork = {
  job: { kind: 'template', layout: 'grid', customBaseUrl: '', media: 'audio_video' },
  encoding: { ...DEFAULT_WISH, audioCodec: 'aac', keyFrameIntervalS: 4 },
};

/** A source whose packets the test emits. */
export class FakeSource implements EgressSource {
  readonly events = new SafeEmitter<EgressSourceEvents>();
  /** Settles start(). */
  startResult: Promise<{ kinds: ('video' | 'audio')[] }> = Promise.resolve({ kinds: ['video', 'audio'] });
  stopped = 0;
  closed = 0;
  wasAborted = false;
  start(signal: AbortSignal) {
    const aborted = new Promise<never>((_resolve, reject) => {
      signal.addEventListener('abort', () => {
        this.wasAborted = true;
        reject(new ServiceError('canceled', 'stopped'));
      });
    });
    return Promise.race([this.startResult, aborted]);
  }
  keyframesAsked = 0;
  requestKeyframe(): void {
    this.keyframesAsked++;
  }
  stop() {
    this.stopped++;
    return Promise.resolve();
  }
  close() {
    this.closed++;
    return Promise.resolve();
  }
  /** Everything at once: what the session does with it must not depend on pace. */
  play(fixture: EncodedMedia): void {
    for (const track of [fixture.video, fixture.audio]) {
      if (track !== undefined) {
        this.events.emit('format', track.format);
      }
    }
    const packets = [...(fixture.video?.packets ?? []), ...(fixture.audio?.packets ?? [])];
    for (const packet of packets.sort((a, b) => a.ptsUs - b.ptsUs)) {
      this.events.emit('packet', packet);
    }
  }
}

export type SessionHarness = {
  source: FakeSource;
  session: EgressSession;
  record: EgressRecord;
  egress: ValidatedEgress;
  statuses: EgressStatus[];
  /** The newest of each output, as the service would know them. */
  spools: Map<string, OutputSpool>;
};

/** A real session with real outputs; everything lands below `folder`, which must hold `work`. */
export function openSession(
  folder: string,
  changes: {
    source?: FakeSource;
    storage?: Storage;
    createStorage?: (target: StorageTarget) => Storage;
    work?: EgressWork;
    outputs?: Partial<EgressOutputs>;
  } = {},
): SessionHarness {
  const source = changes.source ?? new FakeSource();
  const statuses: EgressStatus[] = [];
  const record = new EgressRecord(new EgressInfo({ egressId: 'EG_1' }), (info) => statuses.push(info.status));
  const spools = new Map<string, OutputSpool>();
  const file: FileTarget = {
    kind: changes.work === undefined ? 'mp4' : 'by_codec',
    filepath: 'out/{room_name}',
    disableManifest: false,
    storage: { kind: 'local', rootDir: folder },
  };
  const egress: ValidatedEgress = {
    egressId: 'EG_1',
    roomId: 'RM_1',
    roomName: 'studio',
    token: '',
    wsUrl: '',
    ...(changes.work ?? TEMPLATE),
    webhooks: [],
    outputs: changes.outputs === undefined ? { file, images: [] } : { images: [], ...changes.outputs },
  };
  const session = new EgressSession({
    egress,
    record,
    tools: {
      ffmpegPath: process.env['FFMPEG_PATH'] ?? 'ffmpeg',
      chromiumPath: '',
      templatesDir: '',
      startSignalTimeoutMs: 1000,
      trackWaitMs: 1000,
    },
    workDir: path.join(folder, 'work'),
    rescueDir: path.join(folder, 'rescue'),
    createStorage:
      changes.createStorage ?? (() => changes.storage ?? localStorage({ kind: 'local', rootDir: folder })),
    createSource: () => ({
      source,
      facts: () => ({ trackId: '', publisherIdentity: '', trackType: '', trackSource: '' }),
      wants: () => true,
      expectedFormats: [],
    }),
    logger,
    onSpool: (spool) => spools.set(spool.output, spool),
  });
  return { source, session, record, egress, statuses, spools };
}
