import type { Page } from 'puppeteer';
import { ServiceError } from '../../base/errors.ts';
import type { PageConsole } from './page-console.ts';
import { throwPageError } from './page-navigation.ts';

const ERROR_POLL_MS = 500;

/**
 * Waits until the page prints START_RECORDING. Make the promise `started` before the page is opened: a fast page
 * prints it while it loads.
 * @throws ServiceError failed_precondition "Start signal not received: …" with the console's last lines, or
 * invalid_argument "template error: …" as soon as the page shows one.
 */
export async function awaitStart(
  page: Page,
  started: Promise<void>,
  options: { url: string; timeoutMs: number; console: PageConsole },
): Promise<void> {
  let poll: NodeJS.Timeout | undefined;
  let deadline: NodeJS.Timeout | undefined;
  const refused = new Promise<never>((_resolve, reject) => {
    poll = setInterval(() => {
      throwPageError(page).catch(reject);
    }, ERROR_POLL_MS);
    deadline = setTimeout(() => {
      reject(startSignalMissing(options.url, options.timeoutMs, options.console.lastWords()));
    }, options.timeoutMs);
  });
  try {
    await Promise.race([started, refused]);
  } finally {
    clearInterval(poll);
    clearTimeout(deadline);
  }
}

function startSignalMissing(url: string, timeoutMs: number, lastWords: string): ServiceError {
  const { origin, pathname } = new URL(url);
  const said = lastWords === '' ? 'its console stayed silent' : `its console last said: ${lastWords}`;
  return new ServiceError(
    'failed_precondition',
    `Start signal not received: ${origin}${pathname} did not print START_RECORDING within ${timeoutMs / 1000} s; ${said}`,
  );
}
