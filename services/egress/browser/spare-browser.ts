import { randomString } from '../../base/ids.ts';
import type { Logger } from '../../base/logger.ts';
import { launchBrowser, type BrowserOptions, type BrowserProcess } from './launch.ts';

/** The options a browser cannot change once it runs; `tmpDir` exists and takes its profile. */
export type BrowserWish = Pick<BrowserOptions, 'browserPath' | 'width' | 'height' | 'tmpDir'>;

export type OpenBrowser = (options: Omit<BrowserOptions, 'captureTabTitle'>) => Promise<BrowserProcess>;

/** A browser with a secret title of its own for the tab it captures. */
export const openBrowser: OpenBrowser = (options) =>
  launchBrowser({ ...options, captureTabTitle: `capture-${randomString(16)}` });

/** Chrome takes longer to start than a room takes to join: a process that waits for its job may have one ready. */
export class SpareBrowser {
  readonly #open: OpenBrowser;
  #spare: { wish: BrowserWish; launched: Promise<BrowserProcess | undefined>; isDead: boolean } | undefined;

  constructor(open: OpenBrowser = openBrowser) {
    this.#open = open;
  }

  /** Starts a browser for a later open(). */
  warmUp(wish: BrowserWish, logger: Logger): void {
    if (this.#spare !== undefined) {
      return;
    }
    const launched = this.#open({ ...wish, logger }).then(
      (browser) => {
        browser.events.once('died', () => {
          spare.isDead = true;
        });
        return browser;
      },
      (error: unknown) => {
        // The job tries again and tells its owner.
        logger.warn({ err: error }, 'spare browser did not start');
        return undefined;
      },
    );
    const spare = { wish, launched, isDead: false };
    this.#spare = spare;
  }

  /** The waiting browser when it is what is asked for, or a new one; the caller closes it. */
  readonly open: OpenBrowser = async (options) => {
    const spare = this.#spare;
    this.#spare = undefined;
    const browser = await spare?.launched;
    if (browser === undefined || spare === undefined) {
      return this.#open(options);
    }
    const { browserPath, width, height } = spare.wish;
    const fits = browserPath === options.browserPath && width === options.width && height === options.height;
    if (fits && !spare.isDead) {
      return browser;
    }
    void browser.close();
    return this.#open(options);
  };

  /** Ends the waiting browser, if any. */
  async close(): Promise<void> {
    const spare = this.#spare;
    this.#spare = undefined;
    await (await spare?.launched)?.close();
  }
}
