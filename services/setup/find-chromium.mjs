import { execFile } from 'node:child_process';
import { access, constants, readdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';

const NAMES = [
  'chromium',
  'chromium-browser',
  'google-chrome-stable',
  'google-chrome',
  'chrome',
  'microsoft-edge',
];
const VERSION_TIMEOUT_MS = 20_000;

/**
 * Chromium or Chrome: PUPPETEER_EXECUTABLE_PATH, then the PATH, then what puppeteer downloaded earlier.
 * A name on the PATH counts only when it runs: Ubuntu's chromium-browser is a script that asks for a snap.
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {Promise<string | undefined>}
 */
export async function findChromium(env = process.env) {
  const configured = env.PUPPETEER_EXECUTABLE_PATH ?? '';
  if (configured !== '') {
    if (await isExecutable(configured)) {
      return configured;
    }
    throw new Error(
      `PUPPETEER_EXECUTABLE_PATH "${configured}" is not an executable file: correct or remove it`,
    );
  }
  for (const name of NAMES) {
    const found = await findOnPath(name, env);
    if (found !== undefined && (await runs(found))) {
      return found;
    }
  }
  return findInPuppeteerCache(env);
}

/**
 * @param {string} name
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {Promise<string | undefined>}
 */
export async function findOnPath(name, env = process.env) {
  for (const folder of (env.PATH ?? '').split(path.delimiter)) {
    const candidate = path.join(folder, name);
    if (folder !== '' && (await isExecutable(candidate))) {
      return candidate;
    }
  }
  return undefined;
}

/** <cache>/chrome/<platform>-<version>/chrome-<platform>/chrome, the newest version wins. */
async function findInPuppeteerCache(env) {
  const cache = env.PUPPETEER_CACHE_DIR ?? path.join(homedir(), '.cache', 'puppeteer');
  const base = path.join(cache, 'chrome');
  const versions = await readdir(base).catch(() => []);
  versions.sort((a, b) => b.localeCompare(a, undefined, { numeric: true }));
  for (const version of versions) {
    for (const folder of await readdir(path.join(base, version)).catch(() => [])) {
      const candidate = path.join(base, version, folder, 'chrome');
      if ((await isExecutable(candidate)) && (await runs(candidate))) {
        return candidate;
      }
    }
  }
  return undefined;
}

function runs(file) {
  return new Promise((resolve) => {
    execFile(file, ['--version'], { timeout: VERSION_TIMEOUT_MS }, (error) => {
      resolve(error === null);
    });
  });
}

async function isExecutable(file) {
  return access(file, constants.X_OK).then(
    () => true,
    () => false,
  );
}
