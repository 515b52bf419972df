import { execFile } from 'node:child_process';
import { ServiceError, messageOf } from '../../base/errors.ts';

const PROBE_TIMEOUT_MS = 20_000;
/** First version whose headless mode is the full browser and whose WebCodecs encode H.264 from tab capture. */
const MIN_MAJOR_VERSION = 120;

export type BrowserAbilities = { path: string; version: string; majorVersion: number };

/**
 * Asks a Chrome or Chromium for its version by running it.
 * @throws ServiceError failed_precondition when it does not run, is something else, or is too old.
 */
export async function probeBrowser(browserPath: string): Promise<BrowserAbilities> {
  const output = await new Promise<string>((resolve, reject) => {
    execFile(browserPath, ['--version'], { timeout: PROBE_TIMEOUT_MS }, (error, stdout) => {
      if (error === null) {
        resolve(stdout);
      } else {
        reject(
          new ServiceError(
            'failed_precondition',
            `"${browserPath}" does not run as Chrome: ${messageOf(error).split('\n', 1)[0] ?? ''}`,
            { scope: 'node', cause: error },
          ),
        );
      }
    });
  });
  return parseBrowserVersion(browserPath, output);
}

/** Reads "Chromium 156.0.8078.79 built on Debian …" or "Google Chrome 141.0.7390.54". */
export function parseBrowserVersion(browserPath: string, output: string): BrowserAbilities {
  const version = /\b(?:Chromium|Chrome|HeadlessChrome)\D*(\d+(?:\.\d+)+)/.exec(output)?.[1];
  const majorVersion = Number.parseInt(version ?? '', 10);
  if (version === undefined || Number.isNaN(majorVersion)) {
    throw new ServiceError(
      'failed_precondition',
      `"${browserPath} --version" does not answer like Chrome: ${JSON.stringify(output.slice(0, 80))}`,
      { scope: 'node' },
    );
  }
  if (majorVersion < MIN_MAJOR_VERSION) {
    throw new ServiceError(
      'failed_precondition',
      `"${browserPath}" is version ${version}; room composites need Chrome ${MIN_MAJOR_VERSION} or newer`,
      { scope: 'node' },
    );
  }
  return { path: browserPath, version, majorVersion };
}
