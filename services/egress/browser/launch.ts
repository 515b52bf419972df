import { statfsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import path from 'node:path';
import type { Browser } from 'puppeteer';
import { ServiceError, messageOf } from '../../base/errors.ts';
import { SafeEmitter } from '../../base/events.ts';
import type { Logger } from '../../base/logger.ts';
import { browserFlags, UNWANTED_DEFAULTS } from './flags.ts';

const LAUNCH_TIMEOUT_MS = 30_000;
const PROTOCOL_TIMEOUT_MS = 60_000;
const CLOSE_TIMEOUT_MS = 3_000;
const KILL_TIMEOUT_MS = 5_000;
/** 107 bytes less "/org.chromium.Chromium.XXXXXX/SingletonSocket". */
const MAX_TEMPORARY_PATH_LENGTH = 62;

export type BrowserOptions = {
  browserPath: string;
  width: number;
  height: number;
  /** The profile is made below it and removed on close. */
  tmpDir: string;
  captureTabTitle: string;
  logger: Logger;
};

export type BrowserEvents = {
  /** The browser process ended without being asked to. */
  died: ServiceError;
};

/** One Chrome per egress job: its own process group and profile, gone without a trace after close. */
export type BrowserProcess = {
  readonly browser: Browser;
  readonly pid: number;
  /** Of the tab that getDisplayMedia captures without a picker. */
  readonly captureTabTitle: string;
  readonly events: SafeEmitter<BrowserEvents>;
  /** Ends every process of the browser and removes its profile. Idempotent. */
  close(): Promise<void>;
};

/**
 * Starts a headless Chrome driven over a pipe (no debugging port that other users could reach).
 * @throws ServiceError internal – Chrome is missing, not executable or ended at once.
 */
export async function launchBrowser(options: BrowserOptions): Promise<BrowserProcess> {
  const { browserPath, width, height, logger } = options;
  const profileDir = await mkdtemp(path.join(options.tmpDir, 'b-'));
  const removeProfile = (): Promise<void> =>
    rm(profileDir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  let browser: Browser;
  try {
    // Loaded with the first page: 30 MB that a handler recording a track does not need.
    const { default: puppeteer } = await import('puppeteer');
    browser = await puppeteer.launch({
      executablePath: browserPath,
      headless: true,
      pipe: true,
      args: browserFlags({
        width,
        height,
        profileDir,
        captureTabTitle: options.captureTabTitle,
        isRoot: process.getuid?.() === 0,
        sharedMemoryBytes: sharedMemoryBytes(),
      }),
      ignoreDefaultArgs: UNWANTED_DEFAULTS,
      defaultViewport: { width, height },
      env: { ...process.env, HOME: profileDir, XDG_CONFIG_HOME: profileDir, ...temporaryFolder(profileDir) },
      // The job decides when Chrome ends, not a signal that reaches this process first.
      handleSIGINT: false,
      handleSIGTERM: false,
      handleSIGHUP: false,
      timeout: LAUNCH_TIMEOUT_MS,
      protocolTimeout: PROTOCOL_TIMEOUT_MS,
    });
  } catch (error) {
    await removeProfile();
    throw new ServiceError(
      'internal',
      `chrome failed to start: "${browserPath}": ${firstLine(messageOf(error))}; check that it is installed and runs ("${browserPath} --version")`,
      { cause: error },
    );
  }
  const child = browser.process();
  const pid = child?.pid;
  if (child === null || pid === undefined) {
    await browser.close();
    await removeProfile();
    throw new ServiceError('internal', `chrome failed to start: "${browserPath}" has no process`);
  }
  const events = new SafeEmitter<BrowserEvents>(logger);
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  let closing: Promise<void> | undefined;
  browser.once('disconnected', () => {
    if (closing === undefined) {
      events.emit(
        'died',
        new ServiceError('internal', 'chrome ended unexpectedly; the recording stops here', {
          retryable: true,
        }),
      );
    }
  });
  logger.debug({ browserPid: pid }, 'browser started');
  return {
    browser,
    pid,
    captureTabTitle: options.captureTabTitle,
    events,
    close() {
      closing ??= closeBrowser(browser, pid, exited, logger).finally(removeProfile);
      return closing;
    },
  };
}

async function closeBrowser(
  browser: Browser,
  pid: number,
  exited: Promise<void>,
  logger: Logger,
): Promise<void> {
  const asked = browser.close().catch((error: unknown) => {
    logger.debug({ err: error }, 'browser did not close on request');
  });
  await Promise.race([asked, delay(CLOSE_TIMEOUT_MS)]);
  // Puppeteer starts Chrome as leader of its own group: helpers that outlive it die here.
  killGroup(pid);
  await Promise.race([exited, delay(KILL_TIMEOUT_MS)]);
}

/**
 * Chrome's temporary files go where the profile goes, so that nothing outlives it – unless that path is too long
 * for the socket Chrome opens there (sun_path holds 108 bytes), which would keep it from starting.
 */
function temporaryFolder(profileDir: string): { TMPDIR?: string } {
  return profileDir.length <= MAX_TEMPORARY_PATH_LENGTH ? { TMPDIR: profileDir } : {};
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // Nobody left in the group.
  }
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}

function sharedMemoryBytes(): number | undefined {
  try {
    const stats = statfsSync('/dev/shm');
    return stats.bsize * stats.blocks;
  } catch {
    return undefined;
  }
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0] ?? text;
}
