import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { EgressInfo, EgressStatus } from '@livekit/protocol';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { ServiceError } from '../../../services/base/errors.ts';
import { createLogger } from '../../../services/base/logger.ts';
import { EgressRecord } from '../../../services/egress/egress-record.ts';
import { segmentName, segmentNames } from '../../../services/egress/outputs/segment-names.ts';
import { recoverOutputs } from '../../../services/egress/recovery.ts';
import { localStorage } from '../../../services/egress/uploads/local.ts';
import type { Storage } from '../../../services/egress/uploads/storage.ts';
import { parsePlaylist } from '../../../services/media/hls/playlist.ts';
import type { FilenameValues } from '../../../services/model/egress-filename.ts';
import type { SegmentTarget } from '../../../services/model/egress-plan.ts';
import { FakeSource, openSession } from '../../support/egress-session.ts';
import { encodeMedia, type EncodedMedia } from '../../support/encoded-media.ts';
import { packetHashes } from '../../support/ffprobe.ts';

// Work for the CPU, which others may have.
vi.setConfig({ testTimeout: 120_000 });

const logger = createLogger({ level: (process.env['TEST_LOG'] as 'info' | undefined) ?? 'silent' });
const { EGRESS_COMPLETE, EGRESS_FAILED } = EgressStatus;

let media: EncodedMedia;
let folder: string;
beforeAll(async () => {
  media = await encodeMedia({ video: 'h264', audio: 'aac', seconds: 7, keyIntervalS: 1 });
});
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'sluice-segments-'));
  await mkdir(path.join(folder, 'work'));
});
afterEach(() => rm(folder, { recursive: true }));

function target(changes: Partial<SegmentTarget> = {}): SegmentTarget {
  return {
    filenamePrefix: 'hls/{room_name}',
    playlistName: 'hls/all.m3u8',
    livePlaylistName: 'live',
    segmentDurationS: 1,
    suffix: 'index',
    disableManifest: false,
    storage: { kind: 'local', rootDir: folder },
    ...changes,
  };
}

const fileTarget = () => ({
  kind: 'mp4' as const,
  filepath: 'hls/whole.mp4',
  disableManifest: false,
  storage: { kind: 'local' as const, rootDir: folder },
});

async function playlist(name: string) {
  const text = await readFile(path.join(folder, 'hls', name), 'utf8');
  return { text, segments: parsePlaylist(text) };
}

/** A storage that fails as long as `isAway` says so. */
function fickleStorage(isAway: () => Error | undefined): Storage {
  const local = localStorage({ kind: 'local', rootDir: folder });
  return {
    ...local,
    store: (options) => {
      const error = isAway();
      return error === undefined ? local.store(options) : Promise.reject(error);
    },
  };
}

describe('segment output', () => {
  it('writes file, segments and both playlists from one encode, and one manifest for all', async () => {
    const { session, source, record, statuses } = openSession(folder, {
      outputs: { file: fileTarget(), segments: target() },
    });
    const running = session.run();
    await expect.poll(() => record.state, { timeout: 15_000 }).toBe('active');
    source.play(media);
    session.stop('stop_requested');
    await running;
    expect(statuses.at(-1)).toBe(EGRESS_COMPLETE);
    const info = record.snapshot();
    expect(info.segmentResults[0]).toMatchObject({
      playlistName: 'hls/all.m3u8',
      livePlaylistName: 'hls/live.m3u8',
      playlistLocation: path.join(folder, 'hls/all.m3u8'),
      livePlaylistLocation: path.join(folder, 'hls/live.m3u8'),
      segmentCount: 7n,
    });
    expect(Math.abs(Number(info.segmentResults[0]?.duration) / 1e9 - 7)).toBeLessThan(0.1);
    expect(info.toJson()).not.toHaveProperty('segments');
    const main = await playlist('all.m3u8');
    const live = await playlist('live.m3u8');
    expect(main.text).toMatch(
      /^#EXTM3U\n#EXT-X-VERSION:4\n#EXT-X-PLAYLIST-TYPE:EVENT\n[^]*#EXT-X-ENDLIST\n$/,
    );
    expect(main.segments.map(({ name }) => name)).toEqual(
      [0, 1, 2, 3, 4, 5, 6].map((index) => `studio_0000${index}.ts`),
    );
    expect(live.segments).toEqual(main.segments.slice(2));
    let sizeBytes = 0;
    for (const { name } of main.segments) {
      sizeBytes += (await stat(path.join(folder, 'hls', name))).size;
    }
    expect(Number(info.segmentResults[0]?.size)).toBe(sizeBytes);
    expect((await readdir(path.join(folder, 'work/segments'))).sort()).toEqual([
      'spool.m3u8',
      'stored.jsonl',
    ]);
    for (const kind of ['video', 'audio'] as const) {
      const fromSegments = await packetHashes(path.join(folder, 'hls/all.m3u8'), kind);
      expect(fromSegments).toHaveLength(media[kind]?.packets.length ?? -1);
      const fromFile = await packetHashes(path.join(folder, 'hls/whole.mp4'), kind);
      expect(fromFile).toHaveLength(fromSegments.length);
    }
    const manifest = JSON.parse(await readFile(path.join(folder, 'hls/EG_1.json'), 'utf8')) as {
      files: unknown[];
      playlists: { location: string; segments: { filename: string; location: string }[] }[];
    };
    expect(info.manifestLocation).toBe(path.join(folder, 'hls/EG_1.json'));
    expect(manifest.files).toHaveLength(1);
    expect(manifest.playlists).toHaveLength(1);
    expect(manifest.playlists[0]?.segments[6]).toEqual({
      filename: 'hls/studio_00006.ts',
      location: path.join(folder, 'hls/studio_00006.ts'),
    });
  });

  it('fills the single result when there are only segments, and tells where the playlist is as soon as it is there', async () => {
    const { session, source, record } = openSession(folder, { outputs: { segments: target() } });
    const running = session.run();
    await expect.poll(() => record.state, { timeout: 15_000 }).toBe('active');
    source.play({ video: media.video, audio: undefined });
    source.play({ video: undefined, audio: media.audio });
    await expect
      .poll(() => record.snapshot().segmentResults[0]?.playlistLocation, { timeout: 15_000 })
      .toMatch(/all\.m3u8$/);
    const running1 = await playlist('all.m3u8');
    expect(running1.text).not.toContain('ENDLIST');
    session.stop('stop_requested');
    await running;
    expect(record.snapshot().toJson()).toHaveProperty('segments');
  });

  it('waits for a storage that is away for a moment', async () => {
    let failures = 0;
    const storage = fickleStorage(() =>
      ++failures <= 2
        ? new ServiceError('unavailable', 'S3 upload failed: away', { retryable: true })
        : undefined,
    );
    const { session, source, record } = openSession(folder, { storage, outputs: { segments: target() } });
    const running = session.run();
    await expect.poll(() => record.state, { timeout: 15_000 }).toBe('active');
    source.play(media);
    source.events.emit('ended', { reason: 'source_closed' });
    await running;
    expect(record.snapshot()).toMatchObject({ status: EGRESS_COMPLETE, error: '' });
    expect((await playlist('all.m3u8')).segments).toHaveLength(7);
  });

  it('keeps what its storage refuses, fails with the name of the destination, and leaves the file alone', async () => {
    let stored = 0;
    const storage = fickleStorage(() =>
      // The file comes last and is taken.
      ++stored > 6 && stored < 8
        ? new ServiceError('invalid_argument', 'S3 upload failed: bucket b: gone')
        : undefined,
    );
    const { session, source, record } = openSession(folder, {
      storage,
      outputs: { file: fileTarget(), segments: target() },
    });
    const running = session.run();
    await expect.poll(() => record.state, { timeout: 15_000 }).toBe('active');
    source.play(media);
    source.events.emit('ended', { reason: 'source_closed' });
    await running;
    const info = record.snapshot();
    const rescued = path.join(folder, 'rescue/EG_1');
    expect(info.status).toBe(EGRESS_FAILED);
    expect(info.error).toMatch(
      /^S3 upload failed: bucket b: gone; \d segments that were not stored are kept at /,
    );
    expect(info.error).toContain(rescued);
    expect(info.segmentResults[0]?.playlistLocation).toBe(path.join(rescued, 'all.m3u8'));
    const kept = await readdir(rescued);
    const text = await readFile(path.join(rescued, 'all.m3u8'), 'utf8');
    for (const { name } of parsePlaylist(text)) {
      const isStored = (await readdir(path.join(folder, 'hls'))).includes(name);
      expect(isStored || kept.includes(name)).toBe(true);
    }
    expect((await stat(path.join(folder, 'hls/whole.mp4'))).size).toBeGreaterThan(10_000);
  });

  it('leaves playable segments, playlists with an end and the file when the handler dies at any moment', async () => {
    const { session, source, record, spools, egress } = openSession(folder, {
      outputs: { file: fileTarget(), segments: target() },
    });
    const running = session.run();
    await expect.poll(() => record.state, { timeout: 15_000 }).toBe('active');
    // Half a second into the fifth segment.
    const half = (packets: { ptsUs: number }[] | undefined) => packets?.filter(({ ptsUs }) => ptsUs < 4.5e6);
    source.play({
      video: media.video && { ...media.video, packets: half(media.video.packets) as never },
      audio: media.audio && { ...media.audio, packets: half(media.audio.packets) as never },
    });
    await expect.poll(async () => (await playlist('live.m3u8')).segments.length, { timeout: 15_000 }).toBe(4);
    await expect
      .poll(async () => (await stat(path.join(folder, 'work/segments/studio_00004.ts'))).size, {
        timeout: 15_000,
      })
      .toBeGreaterThan(10_000);
    // What SIGKILL leaves: nobody finishes anything; the service has the spools.
    const after = new EgressRecord(
      new EgressInfo({ egressId: 'EG_1', status: EgressStatus.EGRESS_ACTIVE }),
      () => undefined,
    );
    await recoverOutputs({
      ...{ egress, record: after, logger },
      spools: [...spools.values()],
      track: { trackId: '', publisherIdentity: '', trackType: '', trackSource: '' },
      tools: {
        ...{ ffmpegPath: 'ffmpeg', ffprobePath: 'ffprobe', chromiumPath: '', templatesDir: '' },
        ...{ startSignalTimeoutMs: 0, trackWaitMs: 0 },
      },
      workDir: path.join(folder, 'work'),
      rescueDir: path.join(folder, 'rescue'),
    });
    const main = await playlist('all.m3u8');
    expect(main.segments).toHaveLength(5);
    expect(main.text).toContain('#EXT-X-ENDLIST');
    expect((await playlist('live.m3u8')).text).toContain('#EXT-X-ENDLIST');
    const hashes = await packetHashes(path.join(folder, 'hls/all.m3u8'), 'video');
    expect(hashes.length).toBeGreaterThan(4 * 30);
    expect(after.snapshot().fileResults[0]?.location).toBe(path.join(folder, 'hls/whole.mp4'));
    let sizeBytes = 0;
    for (const { name } of main.segments) {
      sizeBytes += (await stat(path.join(folder, 'hls', name))).size;
    }
    expect(after.snapshot().segmentResults[0]).toMatchObject({ segmentCount: 5n, size: BigInt(sizeBytes) });
    expect(JSON.parse(await readFile(path.join(folder, 'hls/EG_1.json'), 'utf8'))).toMatchObject({
      playlists: [{ location: path.join(folder, 'hls/all.m3u8') }],
    });
    session.stop('killed');
    await running;
  });

  it('fails when nothing was recorded', async () => {
    const { session, source, record } = openSession(folder, { outputs: { segments: target() } });
    const running = session.run();
    await expect.poll(() => record.state, { timeout: 15_000 }).toBe('active');
    source.events.emit('ended', { reason: 'source_closed' });
    await running;
    expect(record.snapshot()).toMatchObject({
      status: EGRESS_FAILED,
      error: expect.stringMatching(/nothing was recorded/) as string,
    });
  });

  it('names playlists that do not go together', async () => {
    const { session, source, record } = openSession(folder, {
      source: new FakeSource(),
      outputs: { segments: target({ livePlaylistName: 'hls/all' }) },
    });
    const running = session.run();
    await expect.poll(() => record.state, { timeout: 15_000 }).not.toBe('starting');
    source.events.emit('ended', { reason: 'source_closed' });
    await running;
    expect(record.snapshot().error).toMatch(/live_playlist_name cannot be identical to playlist_name/);
  });

  it('fails when the disk is not there, naming it', async () => {
    await writeFile(path.join(folder, 'work/segments'), 'in the way');
    const { session, record } = openSession(folder, { outputs: { segments: target() } });
    await session.run();
    expect(record.snapshot()).toMatchObject({
      status: EGRESS_FAILED,
      error: expect.stringMatching(/segments/) as string,
    });
  });
});

describe('segment names', () => {
  const values: FilenameValues = {
    ...{ defaultStem: 'studio', roomName: 'studio', roomId: 'RM_1', trackId: '', publisherIdentity: '' },
    ...{ trackType: '', trackSource: '', startedAtMs: Date.UTC(2026, 0, 2, 15, 4, 5, 67) },
  };
  it.each([
    [
      { playlistName: 'a/p.m3u8', filenamePrefix: 'a/x' },
      { folder: 'a/', playlist: 'p.m3u8', segmentPrefix: 'x' },
    ],
    [
      { playlistName: 'a/p', filenamePrefix: 'a/b/x' },
      { folder: 'a/', playlist: 'p.m3u8', segmentPrefix: 'b/x' },
    ],
    [
      { playlistName: '', filenamePrefix: 'a/x' },
      { folder: 'a/', playlist: 'x.m3u8', segmentPrefix: 'x' },
    ],
    [
      { playlistName: 'p.m3u8', filenamePrefix: '' },
      { folder: '', playlist: 'p.m3u8', segmentPrefix: 'p' },
    ],
    [
      { playlistName: '{room_name}/', filenamePrefix: '' },
      { folder: 'studio/', playlist: expect.stringMatching(/^studio-2026/) as string },
    ],
    [{ playlistName: 'a/p', livePlaylistName: 'a/l.m3u8' }, { livePlaylist: 'l.m3u8' }],
  ])('%o', (changes, expected) => {
    const defaults = { filenamePrefix: '', playlistName: '', livePlaylistName: '' };
    expect(segmentNames({ ...target(), ...defaults, ...changes }, values)).toMatchObject(expected);
  });

  it('count or tell the time', () => {
    const names = segmentNames({ ...target(), playlistName: 'p', filenamePrefix: '' }, values);
    expect(segmentName(names, 'index', 12, 0)).toBe('p_00012.ts');
    expect(segmentName(names, 'timestamp', 12, values.startedAtMs)).toBe('p_20260102150405067.ts');
  });

  it('refuses a live playlist elsewhere', () => {
    expect(() => segmentNames({ ...target(), livePlaylistName: 'b/live' }, values)).toThrow(/same directory/);
  });
});
