import { EgressStatus } from '@livekit/protocol';
import { mkdtemp, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ServiceError } from '../../../services/base/errors.ts';
import type { Storage } from '../../../services/egress/uploads/storage.ts';
import { FakeSource, openSession } from '../../support/egress-session.ts';
import { encodeMedia, type EncodedMedia } from '../../support/encoded-media.ts';

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

describe('egress session', () => {
  it('keeps media that came before the file was open, and stores a normal MP4 with a manifest', async () => {
    const { source, session, record, statuses } = openSession(folder);
    source.play(media);
    const running = session.run();
    await expect.poll(() => record.state, { timeout: 15_000 }).toBe('active');
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
    // A room client that is aborted leaves at once, and the last packets with it.
    expect(source.wasAborted).toBe(false);
  });

  it('keeps what was recorded when the source fails, and fails with its error', async () => {
    const { source, session, record, statuses } = openSession(folder);
    const running = session.run();
    await expect.poll(() => record.state, { timeout: 15_000 }).toBe('active');
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
    const { source, session, record } = openSession(folder, { storage });
    const running = session.run();
    await expect.poll(() => record.state, { timeout: 15_000 }).toBe('active');
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
    const { source, session, record } = openSession(folder, { storage });
    const running = session.run();
    await expect.poll(() => record.state, { timeout: 15_000 }).toBe('active');
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
    const { session, record, statuses } = openSession(folder, { source });
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
    const { session, record } = openSession(folder, { source });
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
    const { source, session, record } = openSession(folder);
    const running = session.run();
    await expect.poll(() => record.state, { timeout: 15_000 }).toBe('active');
    source.events.emit('ended', { reason: 'source_closed' });
    await running;
    expect(record.snapshot()).toMatchObject({
      status: EGRESS_FAILED,
      error: expect.stringMatching(/nothing was recorded/) as string,
    });
  });

  it('names a codec no file holds', async () => {
    const { source, session, record } = openSession(folder, {
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
