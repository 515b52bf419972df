import { mkdtemp, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { EgressInfo, EgressStatus } from '@livekit/protocol';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ServiceError } from '../../../services/base/errors.ts';
import { SafeEmitter } from '../../../services/base/events.ts';
import { createLogger } from '../../../services/base/logger.ts';
import { EgressRecord } from '../../../services/egress/egress-record.ts';
import { EgressSession } from '../../../services/egress/egress-session.ts';
import type { EgressSource, EgressSourceEvents } from '../../../services/egress/sources/source-types.ts';
import { localStorage } from '../../../services/egress/uploads/local.ts';
import type { Storage } from '../../../services/egress/uploads/storage.ts';
import type { EgressWork, ValidatedEgress } from '../../../services/model/egress.ts';
import type { EgressOutputs } from '../../../services/model/egress-plan.ts';
import { DEFAULT_WISH } from '../../../services/model/presets.ts';
import { encodeMedia, type EncodedMedia } from '../../support/encoded-media.ts';

const logger = createLogger({ level: 'silent' });
const { EGRESS_ACTIVE, EGRESS_ENDING, EGRESS_COMPLETE, EGRESS_FAILED, EGRESS_ABORTED } = EgressStatus;

let media: EncodedMedia;
let folder: string;
beforeAll(async () => {
  media = await encodeMedia({ video: 'h264', audio: 'aac', seconds: 2 });
});
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'sluice-session-'));
  await mkdir(path.join(folder, 'work'));
});
afterEach(() => rm(folder, { recursive: true }));

const TEMPLATE: EgressWork = {
  job: { kind: 'template', layout: 'grid', customBaseUrl: '', media: 'audio_video' },
  encoding: { ...DEFAULT_WISH, audioCodec: 'aac', keyFrameIntervalS: 4 },
};

class FakeSource implements EgressSource {
  readonly events = new SafeEmitter<EgressSourceEvents>();
  /** Settles start(). */
  startResult: Promise<{ kinds: ('video' | 'audio')[] }> = Promise.resolve({ kinds: ['video', 'audio'] });
  stopped = 0;
  closed = 0;
  start(signal: AbortSignal) {
    const aborted = new Promise<never>((_resolve, reject) => {
      signal.addEventListener('abort', () => {
        reject(new ServiceError('canceled', 'stopped'));
      });
    });
    return Promise.race([this.startResult, aborted]);
  }
  requestKeyframe(): void {
    // Nobody listens.
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

function open(
  changes: {
    source?: FakeSource;
    storage?: Storage;
    work?: EgressWork;
    outputs?: Partial<EgressOutputs>;
  } = {},
) {
  const source = changes.source ?? new FakeSource();
  const statuses: EgressStatus[] = [];
  const record = new EgressRecord(new EgressInfo({ egressId: 'EG_1' }), (info) => statuses.push(info.status));
  const egress: ValidatedEgress = {
    egressId: 'EG_1',
    roomId: 'RM_1',
    roomName: 'studio',
    token: '',
    wsUrl: '',
    ...(changes.work ?? TEMPLATE),
    webhooks: [],
    outputs: {
      file: {
        kind: changes.work === undefined ? 'mp4' : 'by_codec',
        filepath: 'out/{room_name}',
        disableManifest: false,
        storage: { kind: 'local', rootDir: folder },
      },
      images: [],
      ...changes.outputs,
    },
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
    createStorage: () => changes.storage ?? localStorage({ kind: 'local', rootDir: folder }),
    createSource: () => ({
      source,
      facts: () => ({ trackId: '', publisherIdentity: '', trackType: '', trackSource: '' }),
      wants: () => true,
      expectedFormats: [],
    }),
    logger,
    onSpool: () => undefined,
  });
  return { source, session, record, statuses };
}

describe('egress session', () => {
  it('keeps media that came before the file was open, and stores a normal MP4 with a manifest', async () => {
    const { source, session, record, statuses } = open();
    source.play(media);
    const running = session.run();
    await expect.poll(() => record.state).toBe('active');
    session.stop('stop_requested');
    await running;
    expect(statuses).toEqual([EGRESS_ACTIVE, EGRESS_ENDING, EGRESS_COMPLETE]);
    const info = record.snapshot();
    expect(info.fileResults[0]).toMatchObject({
      filename: 'out/studio.mp4',
      location: path.join(folder, 'out/studio.mp4'),
    });
    expect(Math.abs(Number(info.fileResults[0]?.duration) / 1e9 - 2)).toBeLessThan(0.05);
    const bytes = await readFile(path.join(folder, 'out/studio.mp4'));
    expect(bytes.indexOf('moov')).toBeLessThan(bytes.indexOf('mdat'));
    expect(info.manifestLocation).toBe(path.join(folder, 'out/EG_1.json'));
    const manifest = JSON.parse(await readFile(info.manifestLocation, 'utf8')) as Record<string, unknown>;
    expect(manifest['files']).toEqual([
      { filename: 'out/studio.mp4', location: path.join(folder, 'out/studio.mp4') },
    ]);
    expect([source.stopped, source.closed]).toEqual([1, 1]);
  });

  it('keeps what was recorded when the source fails, and fails with its error', async () => {
    const { source, session, record, statuses } = open();
    const running = session.run();
    await expect.poll(() => record.state).toBe('active');
    source.play(media);
    source.events.emit('ended', {
      reason: 'failed',
      error: new ServiceError('unavailable', 'connection to room failed'),
    });
    await running;
    expect(statuses).toEqual([EGRESS_ACTIVE, EGRESS_ENDING, EGRESS_FAILED]);
    expect(record.snapshot()).toMatchObject({ error: 'connection to room failed', errorCode: 503 });
    expect((await stat(record.snapshot().fileResults[0]?.location ?? '')).size).toBeGreaterThan(10_000);
  });

  it('keeps the file elsewhere when its storage refuses it, and says where', async () => {
    const storage: Storage = {
      preflight: () => Promise.resolve(),
      store: () => Promise.reject(new ServiceError('invalid_argument', 'S3 upload failed: gone')),
      close: () => undefined,
    };
    const { source, session, record } = open({ storage });
    const running = session.run();
    await expect.poll(() => record.state).toBe('active');
    source.play(media);
    source.events.emit('ended', { reason: 'source_closed' });
    await running;
    const rescued = path.join(folder, 'rescue/EG_1.mp4');
    expect(record.snapshot()).toMatchObject({
      status: EGRESS_FAILED,
      errorCode: 400,
      error: `S3 upload failed: gone; the recording is kept at ${rescued}`,
    });
    expect((await stat(rescued)).size).toBeGreaterThan(10_000);
  });

  it('leaves the file where it is when there is no other place at all', async () => {
    const storage: Storage = {
      preflight: () => Promise.resolve(),
      store: () => Promise.reject(new Error('gone')),
      close: () => undefined,
    };
    await writeFile(path.join(folder, 'rescue'), 'in the way');
    const { source, session, record } = open({ storage });
    const running = session.run();
    await expect.poll(() => record.state).toBe('active');
    source.play(media);
    source.events.emit('ended', { reason: 'source_closed' });
    await running;
    const { error, fileResults } = record.snapshot();
    expect(error).toMatch(/^gone; the recording stays at .*recording\.mp4/);
    expect((await stat(fileResults[0]?.location ?? '')).size).toBeGreaterThan(10_000);
  });

  it('is aborted with the words of the page when the start signal does not come', async () => {
    const source = new FakeSource();
    source.startResult = Promise.reject(
      new ServiceError('failed_precondition', 'Start signal not received: http://x/'),
    );
    const { session, record, statuses } = open({ source });
    await session.run();
    expect(statuses).toEqual([EGRESS_ABORTED]);
    expect(record.snapshot()).toMatchObject({
      errorCode: 412,
      error: 'Start signal not received: http://x/',
      details: 'End reason: Start signal not received',
    });
    expect(source.closed).toBe(1);
  });

  it('is aborted when stopped while it starts', async () => {
    const source = new FakeSource();
    source.startResult = new Promise(() => undefined);
    const { session, record } = open({ source });
    const running = session.run();
    session.stop('stop_requested');
    await running;
    expect(record.snapshot()).toMatchObject({
      status: EGRESS_ABORTED,
      details: 'End reason: Stop called before pipeline could start',
    });
    expect(source.closed).toBe(1);
  });

  it('fails when it ended without a single packet', async () => {
    const { source, session, record } = open();
    const running = session.run();
    await expect.poll(() => record.state).toBe('active');
    source.events.emit('ended', { reason: 'source_closed' });
    await running;
    expect(record.snapshot()).toMatchObject({
      status: EGRESS_FAILED,
      error: expect.stringMatching(/nothing was recorded/) as string,
    });
  });

  it('names a codec no file holds', async () => {
    const { source, session, record } = open({
      work: { job: { kind: 'track', trackId: 'TR_1' }, encoding: null },
    });
    const running = session.run();
    source.events.emit('format', { kind: 'video', codec: 'av1', width: 640, height: 360 });
    await running;
    expect(record.snapshot()).toMatchObject({
      status: EGRESS_FAILED,
      errorCode: 501,
      error: expect.stringMatching(/codec av1/) as string,
    });
  });
});
