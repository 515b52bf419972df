import type { Browser } from 'puppeteer';
import { beforeEach, expect, it } from 'vitest';
import { ServiceError } from '../../../services/base/errors.ts';
import { SafeEmitter } from '../../../services/base/events.ts';
import { createLogger } from '../../../services/base/logger.ts';
import type { BrowserEvents, BrowserProcess } from '../../../services/egress/browser/launch.ts';
import { SpareBrowser, type OpenBrowser } from '../../../services/egress/browser/spare-browser.ts';

const logger = createLogger({ level: 'silent' });
const HD = { browserPath: '/usr/bin/chromium', width: 1280, height: 720, tmpDir: '/tmp' };

let opened: BrowserProcess[];
let closed: number[];
beforeEach(() => {
  opened = [];
  closed = [];
});

const fakeOpen: OpenBrowser = () => {
  const pid = opened.length + 1;
  const browser: BrowserProcess = {
    ...{ pid, captureTabTitle: `tab ${pid}`, browser: undefined as unknown as Browser },
    events: new SafeEmitter<BrowserEvents>(logger),
    close: () => {
      closed.push(pid);
      return Promise.resolve();
    },
  };
  opened.push(browser);
  return Promise.resolve(browser);
};

it('hands out the waiting browser once', async () => {
  const spare = new SpareBrowser(fakeOpen);
  spare.warmUp(HD, logger);
  spare.warmUp(HD, logger);
  const pids = [await spare.open({ ...HD, logger }), await spare.open({ ...HD, logger })].map(
    ({ pid }) => pid,
  );
  expect(pids).toEqual([1, 2]);
  await spare.close();
  expect(closed).toEqual([]);
});

it('opens a browser of the size that is asked for and ends the other one', async () => {
  const spare = new SpareBrowser(fakeOpen);
  spare.warmUp(HD, logger);
  expect((await spare.open({ ...HD, width: 1920, height: 1080, logger })).pid).toBe(2);
  expect(closed).toEqual([1]);
});

it('opens a new one when the waiting one has died', async () => {
  const spare = new SpareBrowser(fakeOpen);
  spare.warmUp(HD, logger);
  await expect.poll(() => opened.length, { timeout: 15_000 }).toBe(1);
  opened[0]?.events.emit('died', new ServiceError('internal', 'gone'));
  expect((await spare.open({ ...HD, logger })).pid).toBe(2);
});

it('opens a new one when the waiting one did not start', async () => {
  let attempts = 0;
  const spare = new SpareBrowser((options) => {
    attempts += 1;
    return attempts === 1 ? Promise.reject(new ServiceError('internal', 'no memory')) : fakeOpen(options);
  });
  spare.warmUp(HD, logger);
  expect((await spare.open({ ...HD, logger })).pid).toBe(1);
});

it('ends the browser nobody took', async () => {
  const spare = new SpareBrowser(fakeOpen);
  spare.warmUp(HD, logger);
  await spare.close();
  await spare.close();
  expect(closed).toEqual([1]);
});
