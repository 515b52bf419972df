import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { probeBrowser } from '../egress/browser/probe.ts';
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
  /** Whether ffmpeg can speak SRT. */
  canSrt: boolean;
  /** For people and `GET /status`. */
  summary: { ffmpeg: string; ffprobe: string; chromium: string; limits: readonly string[] };
};

const CHROMIUM_MISSING =
  'Chromium not found: room composite recordings will be refused (apt-get install chromium, or set PUPPETEER_EXECUTABLE_PATH)';

export type WantedTools = { ffmpeg: boolean; chromium: boolean };

const NO_TOOLS: Tools = {
  ffmpegPath: '',
  ffprobePath: undefined,
  chromiumPath: undefined,
  canSrt: false,
  summary: { ffmpeg: 'not needed', ffprobe: 'not needed', chromium: 'not needed', limits: [] },
};

/** @throws ServiceError failed_precondition when there is no ffmpeg, or a configured path does not run. */
export async function findTools(
  logger: Logger,
  wanted: WantedTools = { ffmpeg: true, chromium: true },
): Promise<Tools> {
  if (!wanted.ffmpeg) {
    return NO_TOOLS;
  }
  const ffmpeg = await locateFfmpeg({ configuredPath: process.env['FFMPEG_PATH'] ?? '' });
  const [capabilities, ffprobe, chromiumPath] = await Promise.all([
    probeFfmpeg(ffmpeg.path),
    locateFfprobe(ffmpeg.path, { configuredPath: process.env['FFPROBE_PATH'] ?? '' }),
    wanted.chromium ? findChromium() : undefined,
  ]);
  logger.info(
    { path: ffmpeg.path, origin: ffmpeg.origin, version: capabilities.version, limits: capabilities.limits },
    'ffmpeg found',
  );
  const limits = [...capabilities.limits];
  let chromium = wanted.chromium ? 'not found' : 'not needed';
  let usableChromium: string | undefined;
  if (wanted.chromium && chromiumPath === undefined) {
    limits.push(CHROMIUM_MISSING);
  } else if (chromiumPath !== undefined) {
    try {
      const browser = await probeBrowser(chromiumPath);
      usableChromium = browser.path;
      chromium = `Chromium ${browser.version}`;
      logger.info({ path: browser.path, version: browser.version }, 'Chromium found');
    } catch (error) {
      limits.push(`${messageOf(error)}: room composite recordings will be refused`);
    }
  }
  for (const limit of limits) {
    logger.warn({ limit }, 'limited');
  }
  return {
    ffmpegPath: ffmpeg.path,
    ffprobePath: ffprobe?.path,
    chromiumPath: usableChromium,
    canSrt: capabilities.outputProtocols.has('srt'),
    summary: {
      ffmpeg: capabilities.version,
      ffprobe: ffprobe === undefined ? 'not found' : 'found',
      chromium,
      limits,
    },
  };
}
