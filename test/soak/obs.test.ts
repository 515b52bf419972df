import { mkdir } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { AccessToken } from 'livekit-server-sdk';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { fixtureFile, type Recipe } from '../../fixtures/generate.ts';
import { passthroughH264 } from '../../fixtures/flash-beep.ts';
import { launchChromium, type TestBrowser } from '../support/chromium.ts';
import { readBarcode } from '../support/flash-beep.ts';
import { eventually, LivekitPage, serveLivekitPage } from '../support/livekit-page.ts';
import { startMatrixStage, type MatrixStage } from '../support/matrix-stage.ts';
import { startObs } from '../support/obs-studio.ts';
import { API_KEY, API_SECRET } from '../support/sluice-process.ts';

/** UPDATE_IMAGES=1 renews the picture in the documentation. */
const IMAGE = path.resolve(
  process.env['UPDATE_IMAGES'] === '1' ? 'docs/images' : '.cache/soak',
  'obs-in-room.png',
);
const FILM: Recipe = {
  name: 'obs-360p',
  extension: 'mp4',
  picture: { width: 640, height: 360, framesPerSecond: 30, background: 'motion' },
  // The counter wraps with the film: recordings see each value once.
  seconds: 120,
  video: passthroughH264({ framesPerSecond: 30, bitrateKbps: 1_500 }),
  audio: ['-c:a', 'aac', '-b:a', '128k', '-ar', '48000', '-ac', '2'],
};

let stage: MatrixStage;
let browser: TestBrowser;
let pages: Server;
let film: string;

beforeAll(async () => {
  film = await fixtureFile(FILM);
  stage = await startMatrixStage();
  browser = await launchChromium();
  pages = createServer(serveLivekitPage);
  await new Promise<void>((resolve) => pages.listen(0, '127.0.0.1', resolve));
}, 180_000);
afterAll(async () => {
  await browser.close();
  pages.close();
  await stage.close();
});

test('OBS itself streams into a room that a browser sees', { timeout: 180_000 }, async () => {
  let watched: Promise<number[]> | undefined;
  const seen = await stage.watch(async (streamKey) => {
    const obs = await startObs({
      ...{ server: `rtmp://127.0.0.1:${stage.sluice.rtmpPort}/live`, streamKey, media: film },
      ...{ width: 640, height: 360, framesPerSecond: 30, bitrateKbps: 1_500 },
    });
    watched = watchInBrowser('cell-1');
    return {
      output: obs.output,
      stop: async () => {
        await watched?.catch(() => undefined);
        await obs.stop();
      },
    };
  });
  console.info(JSON.stringify(seen));
  const counters = (await watched) ?? [];
  expect(counters).toEqual([...counters].sort((a, b) => a - b));
  expect(new Set(counters).size).toBe(counters.length);
  // OBS renders the film again, by software: on a busy machine it leaves many pictures out.
  expect(seen.uniqueFps).toBeGreaterThan(5);
  expect(seen.reordered).toBe(0);
  expect(seen.beepRatio).toBeGreaterThan(0.75);
  expect(seen.flashRatio).toBeGreaterThan(0.25);
  if (seen.uniqueFps > 28) {
    expect(Math.abs(seen.skewMs)).toBeLessThanOrEqual(40);
  }
  expect(seen.webhooks).toEqual(['ingress_started', 'ingress_ended']);
});

/** Joins with livekit-client; the counters of pictures a second apart, as the page shows them. */
async function watchInBrowser(room: string): Promise<number[]> {
  const { port } = pages.address() as AddressInfo;
  const tab = await LivekitPage.open(browser, { httpUrl: `http://127.0.0.1:${port}` });
  await tab.page.setViewport({ width: 672, height: 460 });
  const token = new AccessToken(API_KEY, API_SECRET, { identity: 'viewer' });
  token.addGrant({ roomJoin: true, room });
  await tab.connect(stage.sluice.wsUrl, await token.toJwt());
  await eventually(
    'pictures and sound of OBS',
    async () => [await tab.inbound('video'), await tab.inbound('audio')],
    ([video, audio]) => (video?.[0]?.framesDecoded ?? 0) > 60 && (audio?.[0]?.totalAudioEnergy ?? 0) > 0.001,
    60_000,
  );
  const counters: number[] = [];
  for (let look = 0; look < 4; look += 1) {
    const last = counters.at(-1) ?? 0;
    counters.push(
      await eventually(
        'the picture a second later',
        () => counterShown(tab),
        (value) => value >= last + 30,
      ),
    );
  }
  await tab.run(`{
    const encoder = [...app.room.remoteParticipants.values()][0];
    const [video] = [...encoder.videoTrackPublications.values()];
    const { width, height } = video.dimensions;
    document.body.style.cssText = 'margin:16px;font:16px sans-serif;background:#fff;color:#222';
    document.body.insertAdjacentHTML('afterbegin', '<p style="margin:0 0 12px"></p>');
    document.querySelector('p').textContent = 'OBS Studio 29 by RTMP, as livekit-client shows it in Chromium: participant "' +
      encoder.name + '", ' + video.mimeType + ' ' + width + ' × ' + height + ', ' + encoder.attributes['sluice.ingress.video'];
  }`);
  await mkdir(path.dirname(IMAGE), { recursive: true });
  await tab.page.screenshot({ path: IMAGE });
  return counters;
}

async function counterShown(tab: LivekitPage): Promise<number> {
  const gray = await tab.run<number[]>(`(() => {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [320, 180];
    const context = canvas.getContext('2d');
    context.drawImage(document.querySelector('video'), 0, 0, 320, 180);
    return [...context.getImageData(0, 0, 320, 180).data.filter((_, index) => index % 4 === 1)];
  })()`);
  return readBarcode(Buffer.from(gray));
}
