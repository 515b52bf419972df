import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import puppeteer from 'puppeteer';
import type { TestBrowser } from './chromium.ts';
import { startNullSoundCard } from './null-sound-card.ts';

const FIREFOX = '/usr/bin/firefox-esr';

/**
 * Fake camera and microphone, no questions, sound without a click, and candidates on this machine's loopback. Firefox
 * uses other addresses than that of the default route only where a page may use camera or microphone.
 */
const PREFERENCES = {
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  'permissions.default.microphone': 1,
  'permissions.default.camera': 1,
  'media.autoplay.default': 0,
  'media.autoplay.blocking_policy': 0,
  'media.autoplay.block-webaudio': false,
  'media.peerconnection.ice.loopback': true,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  'media.gmp-manager.updateEnabled': false,
  'dom.min_background_timeout_value': 4,
  'dom.timeout.enable_budget_timer_throttling': false,
  'app.update.enabled': false,
  'datareporting.policy.dataSubmissionEnabled': false,
};

/** Debian's Firefox, headless, driven by WebDriver BiDi. Its OpenH264 is a download, so it has no H.264. */
export async function launchFirefox(): Promise<TestBrowser> {
  if (!existsSync(FIREFOX)) {
    throw new Error('no Firefox: install the Debian package firefox-esr');
  }
  const soundCard = await startNullSoundCard();
  const profileDir = mkdtempSync(path.join(tmpdir(), 'sluice-firefox-'));
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath: FIREFOX,
    headless: true,
    userDataDir: profileDir,
    extraPrefsFirefox: PREFERENCES,
    env: { ...process.env, ...soundCard.env },
    timeout: 60_000,
  });
  return {
    browser,
    newPage: () => browser.newPage(),
    close: async () => {
      await browser.close();
      await soundCard.close();
      rmSync(profileDir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    },
  };
}
