import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { launchChromium, type TestBrowser } from '../support/chromium.ts';
import { eventually, LivekitPage, serveLivekitPage, type Picture } from '../support/livekit-page.ts';
import { startSfuServer, type SfuServer } from '../support/sfu-server.ts';

let server: SfuServer;
let browser: TestBrowser;

beforeAll(async () => {
  server = await startSfuServer({ onRequest: serveLivekitPage });
  browser = await launchChromium();
});
afterAll(async () => {
  await browser.close();
  await server.close();
});

async function join(identity: string, room: string, roomOptions: object = {}): Promise<LivekitPage> {
  const page = await LivekitPage.open(browser, server);
  await page.connect(server.wsUrl, await server.joinToken(identity, room), roomOptions);
  return page;
}

/** Mean absolute difference of two downscaled pictures, 0…255. */
function difference(a: Picture, b: Picture): number {
  return (
    a.rgba.reduce((sum, value, index) => sum + Math.abs(value - (b.rgba[index] ?? 0)), 0) / a.rgba.length
  );
}

/** The largest channel spread: 0 for a black or plain picture. */
function spread(picture: Picture): number {
  return (
    Math.max(...picture.rgba.filter((_, index) => index % 4 !== 3)) -
    Math.min(...picture.rgba.filter((_, index) => index % 4 !== 3))
  );
}

async function shownPicture(page: LivekitPage): Promise<Picture> {
  const picture = await eventually(
    'a picture',
    () => page.picture(),
    (shown) => shown !== null && spread(shown) > 60,
  );
  return picture as Picture;
}

for (const codec of ['vp8', 'h264'] as const) {
  describe(`two Chromium tabs, ${codec} with simulcast`, () => {
    it('receive moving pictures, sound and data from each other', async () => {
      const alice = await join('alice', `tabs-${codec}`);
      const bob = await join('bob', `tabs-${codec}`);
      await alice.publish({ simulcast: true, videoCodec: codec });
      const [video] = await eventually(
        'decoded video',
        () => bob.inbound('video'),
        ([first]) => (first?.framesDecoded ?? 0) > 30,
      );
      expect(video?.codec.toLowerCase()).toBe(`video/${codec}`);
      const first = await shownPicture(bob);
      await eventually(
        'a changed picture',
        () => bob.picture(),
        (later) => later !== null && difference(first, later) > 0.5,
      );
      await eventually(
        'sound',
        () => bob.inbound('audio'),
        ([sound]) => (sound?.totalAudioEnergy ?? 0) > 0,
      );
      await eventually(
        'the full size',
        () => bob.inbound('video'),
        ([full]) => full?.width === 1280 && full.height === 720,
        25_000,
      );
    });
  });
}
