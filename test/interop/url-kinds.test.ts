import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { IngressState_Status } from '@livekit/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { IngressHandler } from '../../services/bus/rpc-methods.ts';
import { reportOf } from '../support/fake-room-report.ts';
import { freshName } from '../support/fresh-name.ts';
import { ENDPOINT_ERROR, ENDPOINT_PUBLISHING } from '../support/ingress-harness.ts';
import { CLIP, makeClips, makePlaylist, type ClipName } from '../support/url-clips.ts';
import { endOf, playToEnd, startUrl, startUrlHarness } from '../support/url-play.ts';
import { startWebFolder, type WebFolder } from '../support/web-folder.ts';

const { ENDPOINT_COMPLETE } = IngressState_Status;
const SECONDS = 3;
const MAX_SKEW_MS = 40;

let dir: string;
let web: WebFolder;
/** When a live playlist was asked for first, by its name. */
const liveSinceMs = new Map<string, number>();

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'sluice-url-kinds-'));
  const clips: ClipName[] = [
    ...([
      'clip.mp4',
      'moov-last.mp4',
      'reordered.mov',
      'clip.mkv',
      'vp8.webm',
      'vp9.webm',
      'clip.ogg',
    ] as const),
    ...(['clip.mp3', 'clip.m4a', 'clip.ts', 'hevc.mkv'] as const),
  ];
  await makeClips(dir, clips, SECONDS);
  await makePlaylist(dir, 'clip.mp4', 'clip.m3u8');
  web = await startWebFolder(dir, (name, response) => {
    if (name === 'cut.mp4' || name === 'stuck.mp4') {
      // Half of the file, and then a closed connection or nothing at all.
      void readFile(path.join(dir, 'clip.mp4')).then((bytes) => {
        response.writeHead(200, { 'content-length': bytes.length });
        response.write(bytes.subarray(0, bytes.length / 2), () => {
          if (name === 'cut.mp4') {
            response.destroy();
          }
        });
      });
      return true;
    }
    if (name.startsWith('live')) {
      void livePlaylist(name).then((text) => {
        response.writeHead(200, { 'content-type': 'application/vnd.apple.mpegurl' }).end(text);
      });
      return true;
    }
    return false;
  });
}, 240_000);

/** The recorded playlist as it was while its second segment was in the making; it ends when that is done. */
async function livePlaylist(name: string): Promise<string> {
  const sinceMs = liveSinceMs.get(name) ?? performance.now();
  liveSinceMs.set(name, sinceMs);
  const whole = await readFile(path.join(dir, 'clip.m3u8'), 'utf8');
  const live = whole.replace(/#EXT-X-PLAYLIST-TYPE:VOD\n/, '');
  const isOver = performance.now() - sinceMs > 2_500;
  return isOver ? live : live.slice(0, live.indexOf('#EXTINF', live.indexOf('#EXTINF') + 1));
}

afterAll(async () => {
  await web.close();
  await rm(dir, { recursive: true, force: true });
});

describe.concurrent('a URL with picture and sound', () => {
  it.concurrent.each([
    ['MP4 (H.264, AAC)', 'clip.mp4', 'h264', 'h264', 'aac', 'passthrough'],
    ['MP4 whose index comes last', 'moov-last.mp4', 'h264', 'h264', 'aac', 'passthrough'],
    ['MOV with B-frames', 'reordered.mov', 'h264', 'h264', 'aac', 'transcode: B-frames'],
    ['Matroska (H.264, Opus)', 'clip.mkv', 'h264', 'h264', 'opus', 'passthrough'],
    ['WebM (VP8, Opus)', 'vp8.webm', 'vp8', 'vp8', 'opus', 'passthrough'],
    ['WebM (VP9, Opus)', 'vp9.webm', 'vp9', 'vp9', 'opus', 'passthrough'],
    ['Ogg (Theora, Vorbis)', 'clip.ogg', 'theora', 'h264', 'vorbis', 'transcode: theora video'],
    ['MPEG-TS', 'clip.ts', 'h264', 'h264', 'aac', 'passthrough'],
    ['HEVC', 'hevc.mkv', 'h265', 'h264', 'aac', 'transcode: hevc video'],
    ['HLS, recorded', 'clip.m3u8', 'h264', 'h264', 'aac', 'passthrough'],
    ['HLS, live', 'live.m3u8', 'h264', 'h264', 'aac', 'passthrough'],
  ])('%s: every picture in order, sound in step', async (_name, file, input, output, audio, verdict) => {
    // A live playlist begins with the first who asks.
    const name = file === 'live.m3u8' ? `${freshName('live')}.m3u8` : file;
    const { harness, end, last } = await playToEnd(`${web.url}/${name}`);
    expect([end.status, end.error]).toEqual([ENDPOINT_COMPLETE, '']);
    const { room } = harness;
    expect(room.track('video')?.options.format).toMatchObject({ codec: output, width: 320, height: 180 });
    expect(room.attributes['sluice.ingress.video']).toBe(verdict);
    expect(last.video).toMatchObject({ mimeType: `video/${input}`, width: CLIP.width, height: CLIP.height });
    expect(last.audio).toMatchObject({ mimeType: `audio/${audio}`, channels: 2, sampleRate: 48_000 });
    const report = await reportOf(room);
    expect(report).toMatchObject({ reordered: 0, skipped: 0 });
    expect(report.frames).toBeGreaterThanOrEqual(CLIP.framesPerSecond * SECONDS - 2);
    expect(report.flashesS.length).toBeGreaterThanOrEqual(SECONDS - 1);
    expect(report.beepsS.length).toBeGreaterThanOrEqual(SECONDS - 1);
    expect(Math.abs(report.medianOffsetMs)).toBeLessThanOrEqual(MAX_SKEW_MS);
    // Paced: as long as the clip itself.
    expect(Number(end.endedAt - end.startedAt) / 1e9).toBeGreaterThan(SECONDS - 0.5);
  });
});

describe.concurrent('a URL reserves what it takes', () => {
  it.concurrent.each([
    ['that passes through', 'clip.mp4', 'url'],
    ['with B-frames', 'reordered.mov', 'urlTranscoding'],
    ['in a codec of another time', 'clip.ogg', 'urlTranscoding'],
    ['in HEVC', 'hevc.mkv', 'urlTranscoding'],
  ])('%s', async (_what, file, work) => {
    const harness = await startUrlHarness();
    try {
      await startUrl(harness, `${web.url}/${file}`);
      expect(harness.ingress.work()).toEqual(['url']);
      await harness.room.until(() => harness.room.packets('video').length > 0);
      expect(harness.ingress.work()).toEqual([work]);
    } finally {
      await harness.close();
    }
    expect(harness.ingress.work()).toEqual([]);
  });
});

describe.concurrent('a URL with sound alone', () => {
  it.concurrent.each([
    ['MP3', 'clip.mp3', 'audio/mp3'],
    ['M4A', 'clip.m4a', 'audio/aac'],
  ])('%s', async (_name, file, mimeType) => {
    const { harness, end, last } = await playToEnd(`${web.url}/${file}`);
    expect([end.status, end.error]).toEqual([ENDPOINT_COMPLETE, '']);
    expect(harness.room.track('video')).toBeUndefined();
    expect(last.audio).toMatchObject({ mimeType });
    const packets = harness.room.packets('audio');
    expect(packets.length).toBeGreaterThanOrEqual(SECONDS * 50 - 3);
    // A beep takes more bytes than silence.
    expect(packets.filter(({ data }) => data.length > 60).length).toBeGreaterThanOrEqual(5 * (SECONDS - 1));
  });
});

describe.concurrent('how a recording is played', () => {
  it('loops without losing a picture, from its start offset on', async () => {
    // Key frames are two seconds apart: each round is the last second.
    const { harness, end } = await playToEnd(`${web.url}/clip.mp4#sluice_loop=3&sluice_start=2`);
    expect([end.status, end.error]).toEqual([ENDPOINT_COMPLETE, '']);
    const report = await reportOf(harness.room);
    expect(report.frames).toBeGreaterThanOrEqual(3 * CLIP.framesPerSecond - 3);
    expect(report.reordered).toBe(2);
    const times = harness.room.packets('video').map(({ ptsUs }) => ptsUs);
    const gaps = times.slice(1).map((time, index) => time - (times[index] ?? 0));
    // No picture is missing; on a busy machine the next round is read later than it should be.
    expect(Math.max(...gaps)).toBeLessThan(5_000_000);
    expect(Math.min(...gaps)).toBeGreaterThan(0);
  });

  it('stays with its last picture as long as asked', async () => {
    const { end } = await playToEnd(`${web.url}/clip.mp4#sluice_start=2&sluice_hold=1.5`);
    expect(end.status).toBe(ENDPOINT_COMPLETE);
    expect(Number(end.endedAt - end.startedAt) / 1e9).toBeGreaterThan(2.4);
  });

  it('loops until its ingress is deleted', async () => {
    const harness = await startUrlHarness();
    await startUrl(harness, `${web.url}/clip.mp4#sluice_loop=forever&sluice_start=2`);
    await harness.room.until(() => harness.room.packets('video').length > 2 * CLIP.framesPerSecond);
    await harness.bus.request(IngressHandler.deleteIngress, { ingressId: 'IN_url' }, { topic: 'IN_url' });
    await endOf(harness);
    await harness.close();
    expect(harness.ingress.activeIngressIds()).toEqual([]);
  });

  it('an offset behind its end is an error that says so', async () => {
    const { end } = await playToEnd(`${web.url}/clip.mp4#sluice_start=60`);
    expect(end).toMatchObject({
      status: ENDPOINT_ERROR,
      error: `sluice_start=60 is behind the end of the input (${SECONDS}.0 s)`,
    });
  });
});

describe.concurrent('a server that fails on the way', () => {
  it('breaks off: what came is shown, then the error', async () => {
    const { harness, end } = await playToEnd(`${web.url}/cut.mp4`);
    expect(end.status).toBe(ENDPOINT_ERROR);
    expect(end.error).toMatch(/^the (URL cannot be played|input broke off)/);
    expect(harness.room.packets('video').length).toBeGreaterThan(10);
  });

  it('says nothing more', async () => {
    const harness = await startUrlHarness({ url: { stallMs: 3_000 } });
    await startUrl(harness, `${web.url}/stuck.mp4`);
    await harness.stateThat(({ status }) => status === ENDPOINT_PUBLISHING || status === ENDPOINT_ERROR);
    expect(await endOf(harness)).toMatchObject({
      status: ENDPOINT_ERROR,
      error: 'the input has sent nothing for 3 s',
    });
    await harness.close();
  });
});
