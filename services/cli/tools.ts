import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { probeFfmpeg } from '../media/ffmpeg/capabilities.ts';
import { locateFfmpeg, locateFfprobe } from '../media/ffmpeg/locate.ts';
import { findChromium } from '../setup/find-chromium.mjs';

/** The programs Sluice drives, found and probed once at start. */
export type Tools = {
  ffmpegPath: string;
  /** undefined: this machine has none; recordings are then not verified after the fact. */
  ffprobePath: string | undefined;
  /** undefined: room composites are refused, everything else works. */
  chromiumPath: string | undefined;
  /** For people and `GET /status`. */
  summary: { ffmpeg: string; ffprobe: string; chromium: string; limits: readonly string[] };
};

const CHROMIUM_MISSING =
  'Chromium not found: room composite recordings will be refused (apt-get install chromium, or set PUPPETEER_EXECUTABLE_PATH)';

/** @throws ServiceError failed_precondition when there is no ffmpeg, or a configured path does not run. */
export async function findTools(logger: Logger): Promise<Tools> {
  const ffmpeg = await locateFfmpeg({ configuredPath: process.env['FFMPEG_PATH'] ?? '' });
  const [capabilities, ffprobe, chromiumPath] = await Promise.all([
    probeFfmpeg(ffmpeg.path),
    locateFfprobe(ffmpeg.path, { configuredPath: process.env['FFPROBE_PATH'] ?? '' }),
    findChromium(),
  ]);
  logger.info(
    { path: ffmpeg.path, origin: ffmpeg.origin, version: capabilities.version, limits: capabilities.limits },
    'ffmpeg found',
  );
  const chromium = chromiumPath === undefined ? '' : await versionOf(chromiumPath);
  if (chromiumPath === undefined) {
    logger.warn(CHROMIUM_MISSING);
  } else {
    logger.info({ path: chromiumPath, version: chromium }, 'Chromium found');
  }
  const limits = [...capabilities.limits, ...(chromiumPath === undefined ? [CHROMIUM_MISSING] : [])];
  return {
    ffmpegPath: ffmpeg.path,
    ffprobePath: ffprobe?.path,
    chromiumPath,
    summary: {
      ffmpeg: capabilities.version,
      ffprobe: ffprobe === undefined ? 'not found' : 'found',
      chromium: chromium === '' ? 'not found' : chromium,
      limits,
    },
  };
}

async function versionOf(chromiumPath: string): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(chromiumPath, ['--version'], { timeout: 15_000 });
    return stdout.trim().replace(/\s+built on .*$/, '');
  } catch (error) {
    return `found, but --version failed: ${messageOf(error)}`;
  }
}
