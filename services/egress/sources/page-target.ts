import { ServiceError } from '../../base/errors.ts';
import { redactText } from '../../base/redact.ts';
import type { CapturePath } from '../capture/capture-session.ts';

/** What the browser shows: any web page, or a template that joins the room. */
export type PageTarget =
  | { kind: 'url'; url: string }
  | {
      kind: 'template';
      /** custom_base_url; undefined = the built-in composite page. */
      baseUrl: string | undefined;
      layout: string;
      token: string;
      wsUrl: string;
    };

/**
 * The address to open. A template's `layout`, `token` and `url` are merged into the query that the base URL
 * already has, and a fragment stays at the end, as LiveKit's egress does.
 * @throws ServiceError invalid_argument for anything that is not an http(s) URL.
 */
export function pageUrl(target: PageTarget, builtInBaseUrl: string): string {
  if (target.kind === 'url') {
    return parse(target.url, 'url').href;
  }
  const url = parse(target.baseUrl ?? builtInBaseUrl, 'custom_base_url');
  url.searchParams.set('layout', target.layout);
  url.searchParams.set('token', target.token);
  url.searchParams.set('url', target.wsUrl);
  return url.href;
}

/** The built-in page ('stage') encodes what it paints, which costs less than having Chrome render and capture it. */
export function capturePath(target: PageTarget): CapturePath {
  if (target.kind === 'url') {
    return 'web_page';
  }
  return target.baseUrl === undefined ? 'stage' : 'room_template';
}

function parse(text: string, field: string): URL {
  let url: URL;
  try {
    url = new URL(text);
  } catch (error) {
    throw invalid(text, field, error);
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw invalid(text, field);
  }
  return url;
}

function invalid(text: string, field: string, cause?: unknown): ServiceError {
  return new ServiceError(
    'invalid_argument',
    `invalid url: ${field} "${redactText(text)}" must be an absolute http:// or https:// address`,
    { cause },
  );
}
