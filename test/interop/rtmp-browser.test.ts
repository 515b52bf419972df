import { IngressVideoEncodingPreset, type IngressInfo } from '@livekit/protocol';
import type { PartialMessage } from '@bufbuild/protobuf';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { flashBeepInputs } from '../../fixtures/flash-beep.ts';
import { launchChromium, type TestBrowser } from '../support/chromium.ts';
import { enhancedMessages, sendPaced, type TimedMessage } from '../support/enhanced-rtmp.ts';
import { startIngressHarness, STREAM_KEY, type IngressHarness } from '../support/ingress-harness.ts';
import { eventually, LivekitPage, serveLivekitPage } from '../support/livekit-page.ts';
import { RtmpClient } from '../support/rtmp-client.ts';
import { API_KEY, API_SECRET, startSfuServer, type SfuServer } from '../support/sfu-server.ts';

const FPS = 15;
const SECONDS = 12;

let sfu: SfuServer;
let browser: TestBrowser;
let harness: IngressHarness | undefined;
let client: RtmpClient | undefined;
let page: LivekitPage | undefined;

beforeAll(async () => {
  [browser, sfu] = await Promise.all([
    launchChromium(),
    startSfuServer({ sfu: {}, onRequest: serveLivekitPage }),
  ]);
}, 240_000);
afterEach(async () => {
  client?.close();
  await page?.page.close();
  await harness?.close();
  [client, page, harness] = [undefined, undefined, undefined];
});
afterAll(async () => {
  await browser.close();
  await sfu.close();
});

async function view(
  info: PartialMessage<IngressInfo>,
  messages: readonly TimedMessage[],
): Promise<LivekitPage> {
  harness = await startIngressHarness({
    info,
    room: { wsUrl: sfu.wsUrl, apiKey: API_KEY, apiSecret: API_SECRET },
  });
  page = await LivekitPage.open(browser, sfu);
  await page.connect(sfu.wsUrl, await sfu.joinToken('viewer', 'studio'));
  client = new RtmpClient(harness.ingress.rtmpPort).publish(STREAM_KEY);
  await client.status();
  // Ends with the connection, when the test has seen enough.
  void sendPaced(client, messages);
  return page;
}

function source(): string[] {
  const picture = { width: 640, height: 360, framesPerSecond: FPS, realTime: false };
  return [...flashBeepInputs(picture), '-t', String(SECONDS)];
}

async function shows(viewer: LivekitPage, width: number): Promise<void> {
  const before = (await viewer.inbound('video'))[0]?.framesDecoded ?? 0;
  await eventually(
    `a picture ${width} wide`,
    () => viewer.inbound('video'),
    (streams) => streams.some((stream) => stream.width === width && stream.framesDecoded > before + 5),
  );
  const picture = await viewer.picture();
  expect(new Set(picture?.rgba).size).toBeGreaterThan(8);
}

test('Chromium decodes AV1 as the encoder made it', async () => {
  const messages = await enhancedMessages({ source: source(), video: 'av01', fps: FPS });
  const viewer = await view({}, messages);
  await shows(viewer, 640);
  expect((await viewer.inbound('video'))[0]?.codec).toBe('video/AV1');
});

test('Chromium switches between a layer that passes and the ones encoded below it', async () => {
  const messages = await enhancedMessages({ source: source(), video: 'avc1', fps: FPS });
  const value = IngressVideoEncodingPreset.H264_720P_30FPS_3_LAYERS;
  const viewer = await view({ video: { encodingOptions: { case: 'preset', value } } }, messages);
  await shows(viewer, 640);
  await viewer.run('app.remoteVideos().forEach((publication) => publication.setVideoQuality(0))');
  await shows(viewer, 320);
  await viewer.run('app.remoteVideos().forEach((publication) => publication.setVideoQuality(2))');
  await shows(viewer, 640);
});
