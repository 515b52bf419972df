import { execFile } from 'node:child_process';
import { copyFile, mkdir } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BASELINE_720P, fixtureFile } from '../../fixtures/generate.ts';
import { launchChromium, type TestBrowser } from '../support/chromium.ts';
import { pushFile } from '../support/rtmp-push.ts';
import { startSluiceProcess, type SluiceProcess } from '../support/sluice-process.ts';

const PROGRAM = path.resolve(import.meta.dirname, '..', '..', 'dist', 'main.js');

/** The page in a real browser: what a newcomer clicks. */
describe('first page', () => {
  const cleanUps: (() => Promise<unknown>)[] = [];
  let browser: TestBrowser;
  let fixture: string;
  beforeAll(async () => {
    fixture = await fixtureFile(BASELINE_720P);
    browser = await launchChromium();
    cleanUps.push(() => browser.close());
  }, 240_000);
  afterAll(async () => {
    for (const cleanUp of cleanUps.reverse()) {
      await cleanUp();
    }
  });

  const open = async (sluice: SluiceProcess): Promise<{ read: (expression: string) => Promise<unknown> }> => {
    const page = await browser.newPage();
    cleanUps.push(() => page.close());
    await page.goto(`${sluice.apiUrl}/`);
    return { read: (expression) => page.evaluate(expression) };
  };
  const TEXT = 'document.body.innerText';

  it('lets nobody in without a token once there are keys of one’s own', { timeout: 60_000 }, async () => {
    const sluice = await startSluiceProcess();
    cleanUps.push(() => sluice.cleanUp());
    const { read } = await open(sluice);
    await expect.poll(() => read(TEXT), { timeout: 15_000 }).toContain('Sign in');
    expect(await read('document.getElementById("main").hidden')).toBe(true);

    const { stdout } = await promisify(execFile)(process.execPath, [PROGRAM, 'create-page-token'], {
      env: { ...process.env, LIVEKIT_KEYS: 'e2ekey: an-end-to-end-secret-that-is-long-enough' },
    });
    await read(
      `document.getElementById("token").value = ${JSON.stringify(stdout.trim())}; document.querySelector("#sign-in button").click()`,
    );
    await expect.poll(() => read(TEXT), { timeout: 15_000 }).toContain('Stream into a room');
  });

  it(
    'is open on this machine with the development keys: makes a key, shows the stream, plays a recording',
    { timeout: 90_000 },
    async () => {
      const sluice = await startSluiceProcess({ config: { keys: {} } });
      cleanUps.push(() => sluice.cleanUp());
      await mkdir(path.join(sluice.recordingsDir, 'monday'), { recursive: true });
      await copyFile(fixture, path.join(sluice.recordingsDir, 'monday', 'show.mp4'));
      const { read } = await open(sluice);
      await expect.poll(() => read(TEXT), { timeout: 15_000 }).toContain('monday/show.mp4');

      await read(
        'document.getElementById("room").value = "studio"; document.querySelector("#new-ingress button").click()',
      );
      const keyOfStudio = `[...document.querySelectorAll("#ingress tbody tr")]
        .filter((row) => row.cells[0].innerText === "studio").map((row) => row.cells[2].innerText)[0]`;
      await expect.poll(() => read(keyOfStudio), { timeout: 15_000 }).toMatch(/^\w{12,}$/);
      const push = pushFile(
        fixture,
        `rtmp://127.0.0.1:${sluice.rtmpPort}/live/${String(await read(keyOfStudio))}`,
      );
      cleanUps.push(() => push.stop());
      await expect
        .poll(() => read('document.getElementById("rooms").innerText'), { timeout: 20_000 })
        .toMatch(/studio[\s\S]*OBS[\s\S]*ingress[\s\S]*H264 1280×720/);
      await expect
        .poll(() => read('document.getElementById("ingress").innerText'), { timeout: 15_000 })
        .toContain('live');

      await read('document.querySelector("#recordings button").click()');
      await read('document.getElementById("player-video").play()');
      await expect
        .poll(() => read('document.getElementById("player-video").currentTime'), { timeout: 15_000 })
        .toBeGreaterThan(0.3);
      expect(await read('document.getElementById("player-video").videoWidth')).toBe(1280);
      expect(await read('document.getElementById("problem").hidden')).toBe(true);
    },
  );
});
