import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Logger } from '../base/logger.ts';
import { ServiceError } from '../base/errors.ts';
import { launchBrowser } from '../egress/browser/launch.ts';

export type WhipPage = {
  /** Ends the session with DELETE. @returns what the page says of it. @throws ServiceError when it was refused. */
  stop(): Promise<string>;
  /** Ends the browser, too. Idempotent. */
  close(): Promise<void>;
};

/** What templates/whip-demo paints. */
export const WHIP_PICTURE = { width: 640, height: 360 } as const;
const LIVE_TIMEOUT_MS = 20_000;
const POLL_MS = 100;

/** A browser that publishes by WHIP: opens templates/whip-demo and waits until it is live. @throws ServiceError. */
export async function openWhipPage(options: {
  browserPath: string;
  /** Where templates/whip-demo is served. */
  pageUrl: string;
  whipUrl: string;
  streamKey: string;
  logger: Logger;
}): Promise<WhipPage> {
  const { browserPath, pageUrl, whipUrl, streamKey, logger } = options;
  const tmpDir = await mkdtemp(path.join(tmpdir(), 'sluice-demo-'));
  const removeFolder = (): Promise<void> => rm(tmpDir, { recursive: true, force: true });
  const browser = await launchBrowser({
    ...{ browserPath, tmpDir, logger, captureTabTitle: 'none' },
    ...{ width: 720, height: 640 },
  }).catch(async (error: unknown) => {
    await removeFolder();
    throw error;
  });
  const close = async (): Promise<void> => {
    await browser.close();
    await removeFolder();
  };
  try {
    const [page = await browser.browser.newPage()] = await browser.browser.pages();
    const stateIs = async (wanted: string): Promise<string> => {
      await page.waitForFunction(`['${wanted}', 'failed'].includes(document.body.dataset.state)`, {
        timeout: LIVE_TIMEOUT_MS,
        polling: POLL_MS,
      });
      const [state, text] = (await page.evaluate(
        `[document.body.dataset.state, document.getElementById('status').textContent]`,
      )) as [string, string];
      if (state !== wanted) {
        throw new ServiceError('unavailable', `the page that publishes by WHIP says: ${text}`);
      }
      return text;
    };
    const target = new URLSearchParams({ url: whipUrl, key: streamKey });
    await page.goto(`${pageUrl}#${target.toString()}`);
    await stateIs('live');
    return {
      async stop() {
        await page.click('#stop');
        return stateIs('ended');
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
