import type { Page } from 'puppeteer';
import { ServiceError, messageOf } from '../../base/errors.ts';
import { redactText } from '../../base/redact.ts';

const NAVIGATION_TIMEOUT_MS = 30_000;
const ATTEMPTS = 3;
/** Failures that a second try may cure; the same list LiveKit retries. */
const TRANSIENT = /ERR_CERT_VERIFIER_CHANGED|ERR_CONNECTION_CLOSED|ERR_NETWORK_CHANGED/;
const MAX_ERROR_TEXT = 300;

/**
 * Opens the page and waits for its load event.
 * @throws ServiceError invalid_argument "page load error: …" – unreachable, too slow, or HTTP 400 and above.
 */
export async function openPage(page: Page, url: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const response = await page.goto(url, { waitUntil: 'load', timeout: NAVIGATION_TIMEOUT_MS });
      const status = response?.status() ?? 0;
      if (status >= 400) {
        throw loadError(url, `HTTP ${status} ${response?.statusText() ?? ''}`.trim());
      }
      return;
    } catch (error) {
      if (error instanceof ServiceError) {
        throw error;
      }
      const text = messageOf(error);
      if (attempt < ATTEMPTS && TRANSIENT.test(text)) {
        continue;
      }
      throw loadError(url, reasonOf(text), error);
    }
  }
}

/** @throws ServiceError invalid_argument "template error: …" – the page shows a `div.error`. */
export async function throwPageError(page: Page): Promise<void> {
  const text = await pageErrorText(page);
  if (text !== '') {
    throw new ServiceError('invalid_argument', `template error: ${text}`);
  }
}

export function pageCrashed(error: Error): ServiceError {
  return new ServiceError('internal', `the page crashed: ${messageOf(error)}; the recording stops here`, {
    retryable: true,
    cause: error,
  });
}

/** What a template shows in `div.error`, LiveKit's way for a page to refuse; empty when there is none. */
async function pageErrorText(page: Page): Promise<string> {
  try {
    const text = await page.evaluate(
      `(() => { const e = document.querySelector('div.error'); return e === null ? '' : e.innerText; })()`,
    );
    return typeof text === 'string' ? redactText(text).slice(0, MAX_ERROR_TEXT).trim() : '';
  } catch {
    // The page is between two documents; it is asked again.
    return '';
  }
}

function loadError(url: string, reason: string, cause?: unknown): ServiceError {
  const { origin, pathname } = new URL(url);
  return new ServiceError('invalid_argument', `page load error: ${origin}${pathname}: ${reason}`, { cause });
}

/** "net::ERR_CONNECTION_REFUSED at http://…?token=…" → without the address and its secrets. */
function reasonOf(text: string): string {
  const reason = (text.split('\n', 1)[0] ?? '').replace(/ at https?:\/\/.*$/, '');
  return /^Navigation timeout/.test(reason) ? `timed out after ${NAVIGATION_TIMEOUT_MS / 1000} s` : reason;
}
