import type { Browser, Page } from 'puppeteer';
import { ServiceError, messageOf } from '../../base/errors.ts';
import { h264CodecString } from './h264-level.ts';
import type { RecorderOptions } from './recorder-protocol.ts';

const OPEN_TIMEOUT_MS = 20_000;
/** A picture that stands still is sent five times a second: seekable, and nearly free to encode. */
const STILL_PICTURE_INTERVAL_US = 200_000;

export type RecorderTabOptions = {
  /** Where the recorder page is served; loopback, which makes it a secure context. */
  baseUrl: string;
  socketUrl: string;
  /** The title given to the browser at launch as the one to capture without asking. */
  captureTabTitle: string;
  width: number;
  height: number;
  framerate: number;
  videoBitrateKbps: number;
  keyFrameIntervalS: number;
  onCrash: (error: Error) => void;
};

/**
 * Opens the recorder page in a tab of its own and lets it capture `page`, which may go on to any address.
 * @throws ServiceError internal when Chrome refuses to capture or cannot encode.
 */
export async function openRecorderTab(
  browser: Browser,
  page: Page,
  options: RecorderTabOptions,
): Promise<void> {
  const tab = await browser.newPage();
  tab.on('error', options.onCrash);
  try {
    await setTitle(page, options.captureTabTitle);
    await tab.goto(`${options.baseUrl}/recorder/`, { timeout: OPEN_TIMEOUT_MS });
    await startCapture(tab, options);
  } catch (error) {
    throw cannotCapture(error);
  }
  await page.bringToFront();
}

/**
 * Has the built-in room page record itself: it encodes what it paints and captures the sound of its own tab.
 * @throws ServiceError internal when Chrome refuses to capture or cannot encode.
 */
export async function recordFromWithin(page: Page, options: RecorderTabOptions): Promise<void> {
  try {
    await setTitle(page, options.captureTabTitle);
    await startCapture(page, options);
  } catch (error) {
    throw cannotCapture(error);
  }
}

async function setTitle(page: Page, title: string): Promise<void> {
  await page.evaluate((text) => {
    (globalThis as unknown as { document: { title: string } }).document.title = text;
  }, title);
}

/** Called by the debugger, which counts as a user's gesture: without one Chrome refuses to capture. */
async function startCapture(page: Page, options: RecorderTabOptions): Promise<void> {
  await page.evaluate(
    (recorderOptions) =>
      (globalThis as unknown as { startCapture: (value: RecorderOptions) => Promise<unknown> }).startCapture(
        recorderOptions,
      ),
    recorderOptions(options),
  );
}

function cannotCapture(error: unknown): ServiceError {
  const reason = messageOf(error).split('\n', 1)[0] ?? '';
  return new ServiceError('internal', `chrome cannot capture the page: ${reason}`, { cause: error });
}

function recorderOptions(options: RecorderTabOptions): RecorderOptions {
  const { socketUrl, width, height, framerate, videoBitrateKbps, keyFrameIntervalS } = options;
  return {
    socketUrl,
    width,
    height,
    framerate,
    codec: h264CodecString(width, height, framerate),
    bitrateBps: videoBitrateKbps * 1000,
    keyFrameIntervalUs: Math.round(keyFrameIntervalS * 1e6),
    fillIntervalUs: Math.max(STILL_PICTURE_INTERVAL_US, Math.round(1e6 / framerate)),
  };
}
