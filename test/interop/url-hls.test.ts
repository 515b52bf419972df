import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { IngressState_Status } from '@livekit/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { reportOf } from '../support/fake-room-report.ts';
import { ffmpeg } from '../support/ffmpeg-encoder.ts';
import { CLIP, makeClips } from '../support/url-clips.ts';
import { withSplices } from '../support/scte35-ts.ts';
import { endOf, playToEnd, startUrl, startUrlHarness } from '../support/url-play.ts';
import { startWebFolder, type WebFolder } from '../support/web-folder.ts';

const { ENDPOINT_COMPLETE } = IngressState_Status;
/** Key frames, and so segments, are two seconds apart. */
const SECONDS = 6;
const SEGMENT_FRAMES = 2 * CLIP.framesPerSecond;
const MAX_SKEW_MS = 40;

let dir: string;
let web: WebFolder;

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'sluice-url-hls-'));
  await makeClips(dir, ['clip.mp4'], SECONDS);
  await Promise.all([segment('plain'), segment('other', ['-output_ts_offset', '4000']), encrypted()]);
  const [plain, other] = await Promise.all([playlist('plain'), playlist('other')]);
  const [head, ...segments] = plain.split(/(?=#EXTINF)/);
  const [, second] = other.split(/(?=#EXTINF)/);
  const joined = [head, segments[0], '#EXT-X-DISCONTINUITY\n', second, '#EXT-X-ENDLIST\n'].join('');
  await writeFile(file('joined.m3u8'), joined);
  await writeFile(file('gap.m3u8'), plain.replace('plain1.ts', 'missing.ts'));
  await ffmpeg(['-i', file('clip.mp4'), '-c', 'copy', '-f', 'mpegts', file('clip.ts')]);
  const spliced = withSplices(await readFile(file('clip.ts')), [
    { sentAtS: 0.5, atS: 2, eventId: 77, outOfNetwork: true },
    { sentAtS: 3, atS: 4, eventId: 77, outOfNetwork: false },
  ]);
  await writeFile(file('spliced.ts'), spliced);
  const one = `#EXTINF:${SECONDS},\nspliced.ts\n#EXT-X-ENDLIST\n`;
  await writeFile(
    file('spliced.m3u8'),
    `#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:${SECONDS}\n${one}`,
  );
  web = await startWebFolder(dir, (name, response) => {
    if (name !== 'slow.mp4') {
      return false;
    }
    void dripped(response);
    return true;
  });
});

afterAll(async () => {
  await web.close();
  await rm(dir, { recursive: true, force: true });
});

function file(name: string): string {
  return path.join(dir, name);
}

function playlist(name: string): Promise<string> {
  return readFile(file(`${name}.m3u8`), 'utf8');
}

async function segment(name: string, more: readonly string[] = []): Promise<void> {
  await ffmpeg([
    ...['-i', file('clip.mp4'), '-c', 'copy', ...more, '-f', 'hls', '-hls_time', '2'],
    ...['-hls_playlist_type', 'vod', file(`${name}.m3u8`)],
  ]);
}

/** AES-128 with a key beside the segments (RFC 8216 section 4.3.2.4). */
async function encrypted(): Promise<void> {
  await writeFile(file('secret.key'), randomBytes(16));
  await writeFile(file('keyinfo'), `secret.key\n${file('secret.key')}\n`);
  await segment('locked', ['-hls_key_info_file', file('keyinfo')]);
}

/** At two thirds of the speed it is played at, so that it never gets ahead. */
async function dripped(response: ServerResponse): Promise<void> {
  const bytes = await readFile(file('clip.mp4'));
  const pieces = 30;
  for (let piece = 0; piece < pieces; piece += 1) {
    response.write(bytes.subarray((bytes.length * piece) / pieces, (bytes.length * (piece + 1)) / pieces));
    await delay((SECONDS * 1500) / pieces);
  }
  response.end();
}

describe.concurrent('splice information (SCTE 35)', () => {
  it.each(['spliced.ts', 'spliced.m3u8'])(
    '%s: the participant says when the program has left',
    async (name) => {
      const harness = await startUrlHarness();
      const changes: { eventId: string; frames: number }[] = [];
      const { room } = harness;
      const watching = room.until(() => {
        const eventId = room.attributes['ingress.outOfNetwork.eventID'];
        if (eventId !== undefined && eventId !== changes.at(-1)?.eventId) {
          changes.push({ eventId, frames: room.packets('video').length });
        }
        return changes.length === 2;
      });
      await startUrl(harness, `${web.url}/${name}`);
      const end = await endOf(harness);
      await watching;
      await harness.close();
      expect([end.status, end.error]).toEqual([ENDPOINT_COMPLETE, '']);
      expect(changes.map(({ eventId }) => eventId)).toEqual(['77', '']);
      const atS = changes.map(({ frames }) => frames / CLIP.framesPerSecond);
      expect(Math.abs((atS[0] ?? 0) - 2)).toBeLessThan(0.25);
      expect(Math.abs((atS[1] ?? 0) - 4)).toBeLessThan(0.25);
    },
  );
});

describe.concurrent('HLS', () => {
  it('encrypted with AES-128', async () => {
    const { harness, end } = await playToEnd(`${web.url}/locked.m3u8`);
    expect([end.status, end.error]).toEqual([ENDPOINT_COMPLETE, '']);
    const report = await reportOf(harness.room);
    expect(report).toMatchObject({ reordered: 0, skipped: 0 });
    expect(report.frames).toBeGreaterThanOrEqual(CLIP.framesPerSecond * SECONDS - 2);
    expect(Math.abs(report.medianOffsetMs)).toBeLessThanOrEqual(MAX_SKEW_MS);
    expect(web.paths).toContain('secret.key');
  });

  it('with a discontinuity: what comes behind it follows at once, in step', async () => {
    const { harness, end } = await playToEnd(`${web.url}/joined.m3u8`);
    expect([end.status, end.error]).toEqual([ENDPOINT_COMPLETE, '']);
    const report = await reportOf(harness.room);
    // The counter starts again behind it.
    expect(report).toMatchObject({ reordered: 1, skipped: 0 });
    expect(report.frames).toBeGreaterThanOrEqual(2 * SEGMENT_FRAMES - 2);
    expect(report.durationS).toBeLessThan(5);
    expect(Math.abs(report.medianOffsetMs)).toBeLessThanOrEqual(MAX_SKEW_MS);
  });

  it('with a segment that is not there: the next one goes on', async () => {
    const { harness, end } = await playToEnd(`${web.url}/gap.m3u8`);
    expect([end.status, end.error]).toEqual([ENDPOINT_COMPLETE, '']);
    const report = await reportOf(harness.room);
    expect(report).toMatchObject({ reordered: 0, skipped: SEGMENT_FRAMES });
    expect(report.frames).toBeGreaterThanOrEqual(2 * SEGMENT_FRAMES - 2);
    expect(Math.abs(report.medianOffsetMs)).toBeLessThanOrEqual(MAX_SKEW_MS);
  });

  it('a server slower than the film: every picture comes, later', async () => {
    const { harness, end } = await playToEnd(`${web.url}/slow.mp4`);
    expect([end.status, end.error]).toEqual([ENDPOINT_COMPLETE, '']);
    expect(Number(end.endedAt - end.startedAt) / 1e9).toBeGreaterThan(SECONDS * 1.3);
    const report = await reportOf(harness.room);
    expect(report).toMatchObject({ reordered: 0, skipped: 0 });
    expect(report.frames).toBeGreaterThanOrEqual(CLIP.framesPerSecond * SECONDS - 2);
    expect(Math.abs(report.medianOffsetMs)).toBeLessThanOrEqual(MAX_SKEW_MS);
  });
});
