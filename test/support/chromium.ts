import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import puppeteer, { type Browser, type Page } from 'puppeteer';

/** The Chromium tests drive: PUPPETEER_EXECUTABLE_PATH, else Debian's. */
export function chromiumPath(): string {
  const configured = process.env['PUPPETEER_EXECUTABLE_PATH'] ?? '';
  const found = [configured, '/usr/bin/chromium'].find((file) => file !== '' && existsSync(file));
  if (found === undefined) {
    throw new Error('no Chromium: set PUPPETEER_EXECUTABLE_PATH or install the Debian package chromium');
  }
  return found;
}

const FLAGS = [
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--no-default-browser-check',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-breakpad',
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
  '--autoplay-policy=no-user-gesture-required',
  // Tabs that are not in front must keep encoding and decoding.
  '--disable-background-timer-throttling',
  '--disable-renderer-backgrounding',
  '--disable-backgrounding-occluded-windows',
];

export type TestBrowser = { browser: Browser; newPage(): Promise<Page>; close(): Promise<void> };

/** A headless Chromium with fake camera and microphone and a throw-away profile. One per test file. */
export async function launchChromium(extraFlags: readonly string[] = []): Promise<TestBrowser> {
  const profileDir = mkdtempSync(path.join(tmpdir(), 'sluice-chromium-'));
  const asRoot = process.getuid?.() === 0;
  const browser = await puppeteer.launch({
    executablePath: chromiumPath(),
    headless: true,
    userDataDir: profileDir,
    args: [...FLAGS, ...(asRoot ? ['--no-sandbox'] : []), ...extraFlags],
  });
  return {
    browser,
    newPage: () => browser.newPage(),
    close: async () => {
      await browser.close();
      rmSync(profileDir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    },
  };
}
