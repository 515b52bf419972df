import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { IngressInfo, IngressInput, IngressState_Status, type IngressState } from '@livekit/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { IngressInternal } from '../../services/bus/rpc-methods.ts';
import { reportOf } from '../support/fake-room-report.ts';
import { ENDPOINT_ERROR, startIngressHarness, type IngressHarness } from '../support/ingress-harness.ts';
import { CLIP, makeClips, makePlaylist, type ClipName } from '../support/url-clips.ts';
import { startWebFolder, type WebFolder } from '../support/web-folder.ts';

const { ENDPOINT_COMPLETE } = IngressState_Status;
const SECONDS = 3;
const MAX_SKEW_MS = 40;

let dir: string;
let web: WebFolder;

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'sluice-url-kinds-'));
  const clips: ClipName[] = [
    ...(['clip.mp4', 'reordered.mov', 'clip.mkv', 'vp8.webm', 'vp9.webm', 'clip.ogg'] as const),
    ...(['clip.mp3', 'clip.m4a', 'clip.ts', 'hevc.mkv'] as const),
  ];
  await makeClips(dir, clips, SECONDS);
  await makePlaylist(dir, 'clip.mp4', 'clip.m3u8');
  web = await startWebFolder(dir);
}, 60_000);

afterAll(async () => {
  await web.close();
  await rm(dir, { recursive: true, force: true });
});

/** Plays a URL into a room that keeps everything, up to the end. */
async function playToEnd(
  url: string,
): Promise<{ harness: IngressHarness; end: IngressState; last: IngressState }> {
  const harness = await startIngressHarness({
    info: { ingressId: 'IN_url', streamKey: '', inputType: IngressInput.URL_INPUT, reusable: false },
  });
  const info = (await harness.store.get('IN_url')) ?? new IngressInfo();
  info.url = url;
  await harness.bus.request(IngressInternal.startIngress, { info });
  const end = await harness.stateThat(
    ({ status }) => status === ENDPOINT_COMPLETE || status === ENDPOINT_ERROR,
  );
  await harness.close();
  const last = harness.states.findLast(({ video, audio }) => (video ?? audio) !== undefined) ?? end;
  return { harness, end, last };
}

describe.concurrent('a URL with picture and sound', () => {
  it.concurrent.each([
    ['MP4 (H.264, AAC)', 'clip.mp4', 'h264', 'h264', 'aac', 'passthrough'],
    ['MOV with B-frames', 'reordered.mov', 'h264', 'h264', 'aac', 'transcode: B-frames'],
    ['Matroska (H.264, Opus)', 'clip.mkv', 'h264', 'h264', 'opus', 'passthrough'],
    ['WebM (VP8, Opus)', 'vp8.webm', 'vp8', 'vp8', 'opus', 'passthrough'],
    ['WebM (VP9, Opus)', 'vp9.webm', 'vp9', 'vp9', 'opus', 'passthrough'],
    ['Ogg (Theora, Vorbis)', 'clip.ogg', 'theora', 'h264', 'vorbis', 'transcode: theora video'],
    ['MPEG-TS', 'clip.ts', 'h264', 'h264', 'aac', 'passthrough'],
    ['HEVC', 'hevc.mkv', 'h265', 'h264', 'aac', 'transcode: hevc video'],
    ['HLS, recorded', 'clip.m3u8', 'h264', 'h264', 'aac', 'passthrough'],
  ])('%s: every picture in order, sound in step', async (_name, file, input, output, audio, verdict) => {
    const { harness, end, last } = await playToEnd(`${web.url}/${file}`);
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
