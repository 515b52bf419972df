import type { Page } from 'puppeteer';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { launchChromium, type TestBrowser } from '../support/chromium.ts';
import { ENDPOINT_INACTIVE, STREAM_KEY } from '../support/ingress-harness.ts';
import { eventually, LivekitPage } from '../support/livekit-page.ts';
import { ObsLikeEncoder } from '../support/obs-like-encoder.ts';
import { disposeRtcNode } from '../support/rtc-node-viewer.ts';
import { openWhipPage, serveWhipPage, type WhipResource } from '../support/whip-page.ts';
import { startWhipStage, type WhipStage } from '../support/whip-stage.ts';

let browser: TestBrowser;
let stage: WhipStage;
const pages: Page[] = [];

beforeAll(async () => {
  // What a company sets whose network has no UDP: WebRTC then uses TCP only.
  browser = await launchChromium(['--webrtc-ip-handling-policy=disable_non_proxied_udp']);
});
beforeEach(async () => {
  stage = await startWhipStage({ onRequest: serveWhipPage });
});
afterEach(async () => {
  await Promise.all(pages.splice(0).map((page) => page.close()));
  await stage.close();
});
afterAll(async () => {
  await browser.close();
  await disposeRtcNode();
});

test('Chromium without UDP publishes and watches in a room', async () => {
  const [alice, bob] = [
    await LivekitPage.open(browser, stage.sfu),
    await LivekitPage.open(browser, stage.sfu),
  ];
  pages.push(alice.page, bob.page);
  await alice.connect(stage.sfu.wsUrl, await stage.sfu.joinToken('alice', 'tcp'));
  await bob.connect(stage.sfu.wsUrl, await stage.sfu.joinToken('bob', 'tcp'));
  await alice.publish({ simulcast: false }, { width: 640, height: 360, frameRate: 20 });
  const [video] = await eventually(
    'decoded video',
    () => bob.inbound('video'),
    ([first]) => (first?.framesDecoded ?? 0) > 60,
  );
  expect(video?.width).toBe(640);
  await eventually(
    'sound',
    () => bob.inbound('audio'),
    ([sound]) => (sound?.totalAudioEnergy ?? 0) > 0,
  );
  for (const page of [alice, bob]) {
    expect(await page.run(PROTOCOL_IN_ROOM)).toEqual({ local: 'tcp', remote: 'tcp' });
  }
});

test('Chromium without UDP publishes by WHIP, restarts ICE, and is seen and heard', async () => {
  const viewer = await stage.viewer();
  const page = await openWhipPage(browser, stage.sfu.httpUrl);
  pages.push(page);
  const request = JSON.stringify({ url: stage.harness.whipUrl, bearer: STREAM_KEY, codec: 'video/VP8' });
  const resource = (await page.evaluate(`app.publish(${request})`)) as WhipResource;
  expect(resource.status).toBe(201);
  await viewer.until(() => viewer.frames.some(({ flash }) => flash) && viewer.sound.some(({ beep }) => beep));
  const protocols = `(${protocolsOf})(app.pc)`;
  expect(await page.evaluate(protocols)).toEqual({ local: 'tcp', remote: 'tcp' });
  const restarted = (await page.evaluate('app.restart()')) as { status: number };
  expect(restarted.status).toBe(200);
  const before = viewer.frames.length;
  await viewer.until(() => viewer.frames.length >= before + 60);
  expect(await page.evaluate('app.stop()')).toBe(200);
  await stage.harness.stateThat(({ status }) => status === ENDPOINT_INACTIVE);
});

test('an encoder with the library of OBS publishes over TCP', async () => {
  const viewer = await stage.viewer();
  const encoder = await ObsLikeEncoder.start({
    url: stage.harness.whipUrl,
    bearer: STREAM_KEY,
    layers: [{ width: 640, height: 360, bitrateKbps: 800 }],
    overTcp: true,
  });
  try {
    expect(encoder.answer).toMatch(/^a=candidate:.* tcp .* typ host tcptype passive/m);
    const { frames, sound } = viewer;
    await viewer.until(() => frames.length >= 60 && frames.some(({ flash }) => flash));
    await viewer.until(() => sound.some(({ beep }) => beep));
    expect(encoder.remoteCandidates).toEqual([expect.stringMatching(/ tcp /i)]);
  } finally {
    await encoder.stop();
  }
});

/** Runs in the page. */
const protocolsOf = `async (pc) => {
  const stats = await pc.getStats();
  const transport = [...stats.values()].find(({ type }) => type === 'transport');
  const pair = stats.get(transport.selectedCandidatePairId);
  return { local: stats.get(pair.localCandidateId).protocol, remote: stats.get(pair.remoteCandidateId).protocol };
}`;
const PROTOCOL_IN_ROOM = `(${protocolsOf})(app.room.engine.pcManager.publisher)`;
