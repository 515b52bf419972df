import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { IngressInfo, IngressInput, IngressState_Status, type IngressState } from '@livekit/protocol';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { flashBeepInputs, passthroughH264 } from '../../fixtures/flash-beep.ts';
import { IngressHandler, IngressInternal } from '../../services/bus/rpc-methods.ts';
import { ffmpeg } from '../support/ffmpeg-encoder.ts';
import {
  ENDPOINT_ERROR,
  ENDPOINT_PUBLISHING,
  startIngressHarness,
  type IngressHarness,
  type IngressHarnessOptions,
} from '../support/ingress-harness.ts';
import { disposeRtcNode, RtcNodeViewer } from '../support/rtc-node-viewer.ts';
import { API_KEY, API_SECRET, startSfuServer, type SfuServer } from '../support/sfu-server.ts';

const { ENDPOINT_COMPLETE } = IngressState_Status;
const PICTURE = { width: 640, height: 360, framesPerSecond: 30 };
const SECONDS = 6;

let dir: string;
let web: Server;
let webUrl: string;
let sfu: SfuServer;
let harness: IngressHarness;
let viewer: RtcNodeViewer;
const paths: string[] = [];

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'sluice-url-input-'));
  const source = [...flashBeepInputs({ ...PICTURE, realTime: false }), '-t', String(SECONDS)];
  const h264 = passthroughH264({ framesPerSecond: 30, bitrateKbps: 1_000 });
  await ffmpeg([...source, ...h264, '-c:a', 'aac', '-b:a', '128k', path.join(dir, 'clip.mp4')]);
  await ffmpeg([
    ...[...source, '-c:v', 'libvpx', '-deadline', 'realtime', '-cpu-used', '8', '-b:v', '1M'],
    ...['-c:a', 'libopus', path.join(dir, 'clip.webm')],
  ]);
  web = createServer((request, response) => {
    const name = (request.url ?? '').slice(1);
    paths.push(name);
    if (name === 'to-the-inside') {
      response.writeHead(302, { location: 'http://127.0.0.2:9/clip.mp4' }).end();
      return;
    }
    if (name === 'garbage.mp4') {
      response.end('this is no media at all '.repeat(1000));
      return;
    }
    readFile(path.join(dir, path.basename(name))).then(
      (bytes) => {
        response.writeHead(200, { 'content-length': bytes.length }).end(bytes);
      },
      () => response.writeHead(404).end(),
    );
  });
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
  webUrl = `http://127.0.0.1:${(web.address() as AddressInfo).port}`;
}, 240_000);

afterEach(async () => {
  await viewer.close();
  await harness.close();
  await sfu.close();
});

afterAll(async () => {
  web.closeAllConnections();
  web.close();
  await disposeRtcNode();
  await rm(dir, { recursive: true, force: true });
});

/** A room with a viewer, and a node that plays URLs into it. */
async function start(
  url: IngressHarnessOptions['url'] = { allowAddresses: ['127.0.0.1/32'] },
): Promise<void> {
  sfu = await startSfuServer();
  const info = { ingressId: 'IN_url', streamKey: '', inputType: IngressInput.URL_INPUT, reusable: false };
  harness = await startIngressHarness({
    room: { wsUrl: sfu.wsUrl, apiKey: API_KEY, apiSecret: API_SECRET },
    info,
    url,
  });
  viewer = new RtcNodeViewer();
  await viewer.join(sfu.wsUrl, await sfu.joinToken('viewer', 'studio'));
}

async function play(url: string): Promise<IngressInfo> {
  const info = (await harness.store.get('IN_url')) ?? new IngressInfo();
  info.url = url;
  return harness.bus.request(IngressInternal.startIngress, { info });
}

function stateAtEnd(): Promise<IngressState> {
  return harness.stateThat(({ status }) => status === ENDPOINT_COMPLETE || status === ENDPOINT_ERROR);
}

function onsets(series: readonly boolean[]): number {
  return series.filter((on, i) => on && series[i - 1] === false).length;
}

describe('a URL', () => {
  it.each([
    { name: 'MP4', file: 'clip.mp4', treatment: 'passthrough' },
    // What FLV cannot carry is encoded before the decision.
    { name: 'WebM (VP8, Opus)', file: 'clip.webm', treatment: 'passthrough' },
  ])('$name plays into a room at its own pace and is complete at its end', async ({ file, treatment }) => {
    await start();
    const started = await play(`${webUrl}/${file}`);
    expect(started.state?.resourceId).toMatch(/^UR_/);
    await harness.stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
    const end = await stateAtEnd();
    expect([end.status, end.error]).toEqual([ENDPOINT_COMPLETE, '']);
    const tookS = Number(end.endedAt - end.startedAt) / 1e9;
    expect(tookS).toBeGreaterThan(SECONDS - 1);
    const { frames, sound } = viewer;
    expect(viewer.attributesOf('obs')['sluice.ingress.video']).toBe(treatment);
    // A viewer joins the stream a moment after it began.
    expect(new Set(frames.map(({ barcode }) => barcode)).size).toBeGreaterThanOrEqual(30 * (SECONDS - 3));
    const codes = frames.map(({ barcode }) => barcode);
    expect(codes).toEqual([...codes].sort((a, b) => a - b));
    expect(onsets(frames.map(({ flash }) => flash))).toBeGreaterThanOrEqual(SECONDS - 3);
    expect(onsets(sound.map(({ beep }) => beep))).toBeGreaterThanOrEqual(SECONDS - 3);
    await expect.poll(() => harness.ingress.activeIngressIds(), { timeout: 15_000 }).toEqual([]);
  });

  it('may be a file below the folder the operator opened', async () => {
    await start({ allowAddresses: [], fileRoot: dir });
    await play(pathToFileURL(path.join(dir, 'clip.mp4')).href);
    await harness.stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
    await viewer.until(() => viewer.frames.length > 10 && viewer.sound.length > 10);
    const input = await harness.stateThat(({ video, audio }) => video !== undefined && audio !== undefined);
    expect(input.video).toMatchObject({ mimeType: 'video/h264', width: 640, height: 360 });
  });

  it('ends when its ingress is deleted', async () => {
    await start();
    await play(`${webUrl}/clip.mp4`);
    await harness.stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
    await harness.bus.request(IngressHandler.deleteIngress, { ingressId: 'IN_url' }, { topic: 'IN_url' });
    await expect.poll(() => harness.ingress.activeIngressIds(), { timeout: 15_000 }).toEqual([]);
    await expect.poll(() => viewer.participant('obs'), { timeout: 15_000 }).toBeUndefined();
  });
});

describe('a URL that cannot be played', () => {
  it.each([
    ['is not there', '/none.mp4', /^the URL cannot be played: .*404/],
    ['is no media', '/garbage.mp4', /^the URL cannot be played: /],
    ['redirects into a private network', '/to-the-inside', /^127\.0\.0\.2 is in a private network/],
  ])('%s: the state says so', async (_name, urlPath, message) => {
    await start();
    await play(`${webUrl}${urlPath}`);
    const end = await stateAtEnd();
    expect(end.status).toBe(ENDPOINT_ERROR);
    expect(end.error).toMatch(message);
    expect(viewer.participant('obs')?.trackPublications.size ?? 0).toBe(0);
  });

  it('is refused at once when it is private, and nothing is asked of the target', async () => {
    await start({ allowAddresses: [] });
    const before = paths.length;
    await expect(play(`${webUrl}/clip.mp4`)).rejects.toMatchObject({ code: 'permission_denied' });
    await expect(play('file:///etc/passwd')).rejects.toMatchObject({ code: 'permission_denied' });
    expect(paths.length).toBe(before);
  });
});
