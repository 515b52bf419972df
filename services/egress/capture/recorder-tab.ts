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
  width: number;
  height: number;
  framerate: number;
  videoBitrateKbps: number;
  keyFrameIntervalS: number;
  onCrash: (error: Error) => void;
};

/**
 * Opens the recorder page and lets it capture the tab that carries the title given at launch.
 * @throws ServiceError internal when Chrome refuses to capture or cannot encode.
 */
export async function openRecorderTab(browser: Browser, options: RecorderTabOptions): Promise<void> {
  const tab = await browser.newPage();
  tab.on('error', options.onCrash);
  try {
    await tab.goto(`${options.baseUrl}/recorder/`, { timeout: OPEN_TIMEOUT_MS });
  } catch (error) {
    throw cannotCapture(error);
  }
  await startCapture(tab, options);
}

/**
 * Has a page record: the recorder page another tab, the built-in room page itself.
 * @throws ServiceError internal when Chrome refuses to capture or cannot encode.
 */
export async function startCapture(page: Page, options: Omit<RecorderTabOptions, 'baseUrl' | 'onCrash'>): Promise<void> {
  try {
    // Called by the debugger, which counts as a user's gesture: without one Chrome refuses.
    await page.evaluate(
      (recorderOptions) =>
        (
          globalThis as unknown as { startCapture: (value: RecorderOptions) => Promise<unknown> }
        ).startCapture(recorderOptions),
      recorderOptions(options),
    );
  } catch (error) {
    throw cannotCapture(error);
  }
}

function cannotCapture(error: unknown): ServiceError {
  const reason = messageOf(error).split('\n', 1)[0] ?? '';
  return new ServiceError('internal', `chrome cannot capture the page: ${reason}`, { cause: error });
}

function recorderOptions(options: Omit<RecorderTabOptions, 'baseUrl' | 'onCrash'>): RecorderOptions {
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
