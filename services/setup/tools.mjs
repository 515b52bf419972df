import { readFile } from 'node:fs/promises';
import { findChromium, findOnPath } from './find-chromium.mjs';
import { runVisible, step } from './run.mjs';

/** Without fonts Chromium draws participant names as boxes. */
const FONT_PACKAGES = ['fonts-liberation', 'fonts-noto-core', 'fonts-noto-color-emoji'];
/** What a downloaded Chrome needs and a server installation lacks (names of Debian 12 and Ubuntu 22.04/24.04). */
const CHROME_LIBRARIES = [
  'libnss3',
  'libatk-bridge2.0-0',
  'libcups2',
  'libdrm2',
  'libgbm1',
  'libxkbcommon0',
  'libxcomposite1',
  'libxdamage1',
  'libxfixes3',
  'libxrandr2',
  'libpango-1.0-0',
];

/**
 * Finds ffmpeg, ffprobe and Chromium, and installs what is missing where that is possible: by apt as root on
 * Debian and Ubuntu, Chromium also by puppeteer's own download. Whatever is still missing is named in one line;
 * ffmpeg then falls back to the old build that npm brought, and composites are refused without Chromium.
 * @param {{ required: boolean, packages?: string[] }} options required: a missing tool is an error.
 *   packages: further Debian packages (tests).
 */
export async function ensureTools({ required, packages = [] }) {
  let missing = await missingTools();
  if (missing.length > 0 || packages.length > 0) {
    await installByApt(missing, packages);
    missing = await missingTools();
  }
  if (missing.includes('chromium')) {
    await downloadChrome();
    missing = await missingTools();
  }
  if (missing.length > 0) {
    const line = `missing: ${missing.join(', ')}. Install with: ${await installCommand(missing)}`;
    if (required) {
      throw new Error(line);
    }
    step(line);
  }
}

/** @returns {Promise<('ffmpeg' | 'chromium')[]>} */
async function missingTools() {
  const { FFMPEG_PATH: configured = '' } = process.env;
  const ffmpeg =
    configured !== '' ||
    ((await findOnPath('ffmpeg')) !== undefined && (await findOnPath('ffprobe')) !== undefined);
  const chromium = (await findChromium()) !== undefined;
  return [...(ffmpeg ? [] : ['ffmpeg']), ...(chromium ? [] : ['chromium'])];
}

async function installByApt(missing, packages) {
  const distribution = await osRelease();
  if (process.getuid?.() !== 0 || !distribution.isDebianLike || (await findOnPath('apt-get')) === undefined) {
    return;
  }
  const wanted = [...packages];
  // Ubuntu's "chromium" package only starts a snap, which servers and containers cannot run; Chrome is downloaded
  // there, and apt brings the libraries it needs.
  const isUbuntu = distribution.id === 'ubuntu';
  if (missing.includes('ffmpeg')) {
    wanted.push('ffmpeg');
  }
  if (missing.includes('chromium')) {
    wanted.push(...FONT_PACKAGES, ...(isUbuntu ? CHROME_LIBRARIES : ['chromium']));
  }
  if (wanted.length === 0) {
    return;
  }
  step(`installing ${wanted.join(', ')} with apt-get (a few minutes on a fresh machine)`);
  try {
    await aptGet(['update', '-qq']);
    await aptGet(['install', '-y', '-qq', '--no-install-recommends', ...wanted]);
    if (isUbuntu && missing.includes('chromium')) {
      // Renamed in Ubuntu 24.04.
      await aptGet(['install', '-y', '-qq', 'libasound2t64']).catch(() =>
        aptGet(['install', '-y', '-qq', 'libasound2']),
      );
    }
  } catch (error) {
    step(`apt-get did not succeed: ${error.message}`);
  }
}

async function aptGet(args) {
  // RUNLEVEL=1: packages that bring a daemon (redis, memcached…) must not start it.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  await runVisible('apt-get', ['-o', 'DPkg::Lock::Timeout=300', ...args], { env, quiet: true });
}

/** puppeteer's own download: works on any distribution with network access, brings no fonts or libraries. */
async function downloadChrome() {
  step("downloading Chrome with puppeteer's installer");
  try {
    await runVisible('npx', ['--no-install', 'puppeteer', 'browsers', 'install', 'chrome'], {
      timeoutMs: 600_000,
    });
  } catch (error) {
    step(`the download did not succeed: ${error.message}`);
  }
}

async function installCommand(missing) {
  const { isDebianLike, id } = await osRelease();
  if (isDebianLike && !(id === 'ubuntu' && missing.includes('chromium'))) {
    return `sudo apt-get update && sudo apt-get install -y ${missing.join(' ')} ${FONT_PACKAGES[0]}`;
  }
  const hints = {
    ffmpeg: 'your package manager (ffmpeg with ffprobe), or set FFMPEG_PATH and FFPROBE_PATH',
    chromium:
      'your package manager (Chromium or Google Chrome), or "npx puppeteer browsers install chrome", or set PUPPETEER_EXECUTABLE_PATH',
  };
  return missing.map((name) => hints[name]).join('; ');
}

/** @returns {Promise<{ id: string, isDebianLike: boolean }>} */
async function osRelease() {
  const text = await readFile('/etc/os-release', 'utf8').catch(() => '');
  const field = (name) => new RegExp(`^${name}="?([^"\\n]*)"?$`, 'm').exec(text)?.[1] ?? '';
  const ids = [field('ID'), ...field('ID_LIKE').split(' ')];
  return { id: field('ID'), isDebianLike: ids.includes('debian') || ids.includes('ubuntu') };
}
