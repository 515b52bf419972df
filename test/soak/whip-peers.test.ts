import type { Page } from 'puppeteer';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { startAiortcWhip } from '../support/aiortc-whip.ts';
import type { TestBrowser } from '../support/chromium.ts';
import { launchFirefox } from '../support/firefox.ts';
import { ENDPOINT_INACTIVE, ENDPOINT_PUBLISHING, STREAM_KEY } from '../support/ingress-harness.ts';
import { eventually, LivekitPage } from '../support/livekit-page.ts';
import { startLossyWhip, type LossyWhip } from '../support/lossy-whip.ts';
import { readOnsets } from '../support/onsets.ts';
import { disposeRtcNode, type RtcNodeViewer } from '../support/rtc-node-viewer.ts';
import { startSimpleWhipClient } from '../support/simple-whip-client.ts';
import { startTurnOverTcp } from '../support/turn-server.ts';
import type { WhipProcess } from '../support/whip-process.ts';
import { openWhipPage, serveWhipPage, type WhipResource } from '../support/whip-page.ts';
import { startWhipStage, type WhipStage } from '../support/whip-stage.ts';

// Peers too heavy for every run of the tests: Firefox, Meetecho's simple-whip-client on GStreamer, and aiortc.

const CAMERA = { width: 640, height: 360, frameRate: 20 };

/** libnice sends no UDP from the machine's own address to loopback; with candidates there alone it would take TCP. */
const EVERY_ADDRESS = { udpPort: 0, bindAddress: '0.0.0.0', advertiseAddresses: [] };

let firefox: TestBrowser;
let stage: WhipStage;
const pages: Page[] = [];
const networks: LossyWhip[] = [];
const clients: WhipProcess[] = [];

beforeAll(async () => {
  firefox = await launchFirefox();
}, 120_000);
beforeEach(async () => {
  stage = await startWhipStage({ onRequest: serveWhipPage });
});
afterEach(async () => {
  for (const client of clients.splice(0)) {
    client.kill();
  }
  await Promise.all(pages.splice(0).map((page) => page.close()));
  await Promise.all(networks.splice(0).map((network) => network.close()));
  await stage.close();
});
afterAll(async () => {
  await firefox.close();
  await disposeRtcNode();
});

test('Firefox publishes by WHIP, restarts ICE, and is seen and heard', { timeout: 120_000 }, async () => {
  const viewer = await stage.viewer();
  const page = await openWhipPage(firefox, stage.sfu.httpUrl);
  pages.push(page);
  const request = JSON.stringify({ url: stage.harness.whipUrl, bearer: STREAM_KEY, codec: 'video/VP8' });
  const resource = (await page.evaluate(`app.publish(${request})`)) as WhipResource;
  expect(resource.status).toBe(201);
  await expectFlashAndBeep(viewer);
  const state = await stage.harness.stateThat(
    ({ status, video }) => status === ENDPOINT_PUBLISHING && (video?.width ?? 0) > 0,
  );
  expect(state.video?.mimeType).toBe('video/VP8');
  const restarted = (await page.evaluate('app.restart()')) as { status: number };
  expect(restarted.status).toBe(200);
  const before = viewer.frames.length;
  await viewer.until(() => viewer.frames.length >= before + 60);
  expect(await page.evaluate('app.stop()')).toBe(200);
  await stage.harness.stateThat(({ status }) => status === ENDPOINT_INACTIVE);
});

test.each([2, 5, 10])(
  'Firefox by WHIP is seen and heard when %i of 100 datagrams are lost',
  { timeout: 120_000 },
  async (lossPercent) => {
    const network = await startLossyWhip(stage.harness.whipUrl, lossPercent);
    networks.push(network);
    const viewer = await stage.viewer();
    const page = await openWhipPage(firefox, stage.sfu.httpUrl);
    pages.push(page);
    const request = JSON.stringify({ url: network.whipUrl, bearer: STREAM_KEY, codec: 'video/VP8' });
    await page.evaluate(`app.publish(${request})`);
    await expectFlashAndBeep(viewer);
    const { frames } = viewer;
    const [from, startMs] = [frames.length, performance.now()];
    await viewer.until(() => frames.length >= from + 200);
    const seconds = (performance.now() - startMs) / 1000;
    const { passed, lost } = network;
    console.log(
      `${lossPercent} % (${lost} of ${passed + lost}): ${(200 / seconds).toFixed(1)} frames a second`,
    );
    expect(lost).toBeGreaterThan(20);
    expect(await page.evaluate('app.stop()')).toBe(200);
  },
);

test('two Firefoxes in a room and a Rust client see and hear each other', { timeout: 120_000 }, async () => {
  const viewer = await stage.viewer();
  const alice = await joinFromFirefox('alice');
  const bob = await joinFromFirefox('bob');
  await alice.publish({ videoCodec: 'vp8' }, CAMERA);
  // The large layer of its simulcast comes once Firefox has found the bandwidth.
  await viewer.until(() => count(viewer.frames, ({ width }) => width === CAMERA.width) >= 40);
  await viewer.until(() => count(viewer.sound, ({ rms }) => rms > 0.05) >= 60);
  await expectDecoded(bob);
  await bob.publish({ videoCodec: 'vp8' }, CAMERA);
  await expectDecoded(alice);
  const layers = await alice.outbound();
  expect(count(layers, ({ framesEncoded }) => framesEncoded > 0)).toBe(2);
});

test.each([
  ['trickling its candidates', []],
  ['with all candidates in its offer', ['--no-trickle']],
])('simple-whip-client publishes, %s', { timeout: 120_000 }, async (_how, flags) => {
  await stage.close();
  stage = await startWhipStage({ sfuOptions: { rtc: EVERY_ADDRESS } });
  const viewer = await stage.viewer();
  const client = startSimpleWhipClient({ url: stage.harness.whipUrl, token: STREAM_KEY, flags });
  clients.push(client);
  await Promise.race([expectFlashAndBeep(viewer), client.ended]);
  expect(viewer.frames.at(-1)).toMatchObject({ width: 320, height: 240 });
  await client.stop();
  await stage.harness.stateThat(({ status }) => status === ENDPOINT_INACTIVE);
});

test(
  'simple-whip-client asks for TURN servers by OPTIONS, and publishes through one over TCP',
  {
    timeout: 120_000,
  },
  async () => {
    const turn = await startTurnOverTcp();
    const { port, username, credential } = turn;
    const server = {
      host: '127.0.0.1',
      port,
      protocol: 'tcp',
      username,
      credential,
      secret: '',
      ttlS: 0,
    } as const;
    const behindTurn = await startWhipStage({
      sfuOptions: { iceServers: { stunServers: [], turnServers: [server] } },
    });
    try {
      const viewer = await behindTurn.viewer();
      const client = startSimpleWhipClient({
        url: behindTurn.harness.whipUrl,
        token: STREAM_KEY,
        flags: ['--follow-link', '--force-turn'],
      });
      clients.push(client);
      await Promise.race([expectFlashAndBeep(viewer), client.ended]);
      expect(client.output()).toMatch(/candidate:.* typ relay/);
      expect(client.output()).not.toMatch(/candidates: candidate:.* typ host/);
      await client.stop();
    } finally {
      await behindTurn.close();
      await turn.close();
    }
  },
);

test.each(['VP8', 'H264'] as const)('aiortc publishes %s', { timeout: 120_000 }, async (codec) => {
  const viewer = await stage.viewer();
  const client = startAiortcWhip({ url: stage.harness.whipUrl, token: STREAM_KEY, codec });
  clients.push(client);
  await Promise.race([expectFlashAndBeep(viewer), client.ended]);
  const state = await stage.harness.stateThat(({ video }) => (video?.width ?? 0) > 0);
  expect(state.video).toMatchObject({ mimeType: `video/${codec}`, width: 320, height: 240 });
  await client.stop();
  expect(client.output()).toMatch(/^201\n[^]*connected\n[^]*200\n/);
  await stage.harness.stateThat(({ status }) => status === ENDPOINT_INACTIVE);
});

test(
  'aiortc connects and is seen and heard when 10 of 100 datagrams are lost',
  {
    timeout: 120_000,
  },
  async () => {
    for (const seed of [1, 2, 3]) {
      const network = await startLossyWhip(stage.harness.whipUrl, 10, seed);
      networks.push(network);
      const viewer = await stage.viewer(`viewer ${seed}`);
      const client = startAiortcWhip({ url: network.whipUrl, token: STREAM_KEY, codec: 'VP8' });
      clients.push(client);
      await Promise.race([expectFlashAndBeep(viewer), client.ended]);
      expect(network.lost).toBeGreaterThan(20);
      await client.stop();
      await stage.harness.stateThat(({ status }) => status === ENDPOINT_INACTIVE);
    }
  },
);

async function joinFromFirefox(identity: string): Promise<LivekitPage> {
  const tab = await LivekitPage.open(firefox, stage.sfu);
  pages.push(tab.page);
  await tab.connect(stage.sfu.wsUrl, await stage.sfu.joinToken(identity, 'studio'));
  return tab;
}

/** The picture on the page is that of Firefox's own fake camera, and the sound its tone. */
async function expectDecoded(tab: LivekitPage): Promise<void> {
  const [video] = await eventually(
    'decoded video',
    () => tab.inbound('video'),
    ([first]) => (first?.framesDecoded ?? 0) > 40,
  );
  expect(video?.codec.toLowerCase()).toBe('video/vp8');
  await eventually(
    'a picture',
    () => tab.picture(),
    (picture) => picture !== null && new Set(picture.rgba).size > 5,
  );
  await eventually(
    'sound',
    () => tab.inbound('audio'),
    ([sound]) => (sound?.totalAudioEnergy ?? 0) > 0.01,
  );
}

async function expectFlashAndBeep(viewer: RtcNodeViewer): Promise<void> {
  const { frames, sound } = viewer;
  await viewer.until(() => frames.length >= 60 && readOnsets(frames.map(({ flash }) => flash)) >= 2);
  await viewer.until(() => readOnsets(sound.map(({ beep }) => beep)) >= 2);
  expect(sound.some(({ rms }) => rms < 0.01)).toBe(true);
}

function count<Item>(items: readonly Item[], accept: (item: Item) => boolean): number {
  return items.filter(accept).length;
}
