import type { IncomingMessage } from 'node:http';
import { ServiceError } from '../../base/errors.ts';

export type WhipPath =
  | { kind: 'health' }
  | { kind: 'endpoint'; app: string; /** '' = it is in the Authorization header. */ streamKey: string }
  | { kind: 'session'; app: string; id: string };

/** Words of a path that need no escaping in a Location. */
const WORD = /^[A-Za-z0-9_-]{1,128}$/;
const RESOURCE = 'resource';

/**
 * `/{app}`, `/{app}/{stream key}`, `/{app}/resource/{id}`, `/health`. A query is ignored.
 * @throws ServiceError not_found.
 */
export function parseWhipPath(url: string): WhipPath {
  const [path = ''] = url.split('?', 1);
  const words = path.replace(/\/$/, '').split('/').slice(1);
  const [app = '', second = '', id = ''] = words;
  if (words.length >= 1 && words.length <= 3 && words.every((word) => WORD.test(word))) {
    if (words.length === 3 && second === RESOURCE) {
      return { kind: 'session', app, id };
    }
    if (words.length <= 2) {
      return path === '/health' ? { kind: 'health' } : { kind: 'endpoint', app, streamKey: second };
    }
  }
  throw new ServiceError('bad_route', 'nothing here: POST an SDP offer to /w, or to /w/<stream key>');
}

/** The token of `Authorization: Bearer`; LiveKit takes it without the word as well. '' = none. */
export function bearerOf(request: IncomingMessage): string {
  return (request.headers.authorization ?? '').replace(/^bearer\s+/i, '').trim();
}
