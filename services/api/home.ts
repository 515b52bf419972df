import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ServiceError } from '../base/errors.ts';
import { mintToken, type ApiKeys } from '../protocol/token.ts';
import type { Bus } from '../bus/bus.ts';
import type { EgressStore } from '../bus/egress-store.ts';
import type { IngressStore } from '../bus/ingress-store.ts';
import { authenticate, requireGrant } from './grant-check.ts';
import { OPERATOR_GRANTS, overview } from './overview.ts';
import { checkRecordingLink, listRecordings, openRecording } from './recordings.ts';

export type HomeOptions = {
  bus: Bus;
  egressStore: EgressStore;
  ingressStore: IngressStore;
  keys: ApiKeys;
  /** Built page: index.html, main.js, home.css. */
  homeDir: string;
  recordingsDir: string;
  /**
   * True while the public development keys are in use: the page then gets a token without asking, because the
   * secret is no secret. Only for callers on this machine who came by a loopback name.
   */
  openOnLoopback: boolean;
};

const ASSETS: Readonly<Record<string, string>> = {
  'main.js': 'text/javascript; charset=utf-8',
  'home.css': 'text/css; charset=utf-8',
  'icon.svg': 'image/svg+xml',
};
const PAGE_TOKEN_TTL_S = 3600;

/** The first page, its token, and the recordings it lists. */
export function mountHome(app: FastifyInstance, options: HomeOptions): void {
  app.get('/', async (request, reply) => {
    // LiveKit clients and load balancers probe "/" and expect OK; only browsers ask for HTML.
    if (!(request.headers.accept ?? '').includes('text/html')) {
      return reply.type('text/plain').send('OK');
    }
    return reply
      .type('text/html; charset=utf-8')
      .header('content-security-policy', "default-src 'self'; frame-ancestors 'none'")
      .header('cache-control', 'no-cache')
      .send(await readFile(join(options.homeDir, 'index.html')));
  });

  app.get('/home/:asset', async (request, reply) => {
    const { asset } = request.params as { asset: string };
    const contentType = ASSETS[asset];
    if (contentType === undefined) {
      throw new ServiceError('not_found', 'no such file');
    }
    return reply
      .type(contentType)
      .header('cache-control', 'no-cache')
      .send(await readFile(join(options.homeDir, asset)));
  });

  app.post('/home/session', async (request, reply) => {
    if (!options.openOnLoopback || !isLocalBrowser(request)) {
      throw new ServiceError('unauthenticated', 'sign in with an access token');
    }
    return reply.header('cache-control', 'no-store').send({ token: await pageToken(options.keys) });
  });

  app.get('/home/overview', async (request, reply) => {
    const claims = await authenticate(request.headers.authorization, options.keys);
    for (const grant of OPERATOR_GRANTS) {
      requireGrant(claims.video, grant, undefined);
    }
    const [everything, recordings] = await Promise.all([
      overview(options),
      listRecordings(options.recordingsDir, options.keys),
    ]);
    return reply.header('cache-control', 'no-store').send({ ...everything, recordings });
  });

  app.get('/recordings', async (request, reply) => {
    const claims = await authenticate(request.headers.authorization, options.keys);
    requireGrant(claims.video, 'roomRecord', undefined);
    return reply
      .header('cache-control', 'no-store')
      .send({ recordings: await listRecordings(options.recordingsDir, options.keys) });
  });

  app.get('/recordings/*', async (request, reply) => {
    const path = (request.params as { '*': string })['*'];
    const { token } = request.query as { token?: unknown };
    if (typeof token === 'string') {
      await checkRecordingLink(path, token, options.keys);
    } else {
      const claims = await authenticate(request.headers.authorization, options.keys);
      requireGrant(claims.video, 'roomRecord', undefined);
    }
    const file = await openRecording(options.recordingsDir, path, request.headers.range);
    return reply.code(file.status).headers(file.headers).send(file.body());
  });
}

/** What the page may do: see rooms, make ingress keys, start and stop recordings; for an hour. */
async function pageToken(keys: ApiKeys): Promise<string> {
  const [pair] = keys;
  if (pair === undefined) {
    throw new ServiceError('internal', 'no API key is configured');
  }
  return mintToken(pair[0], pair[1], {
    identity: 'first-page',
    video: Object.fromEntries(OPERATOR_GRANTS.map((grant) => [grant, true])),
    ttlS: PAGE_TOKEN_TTL_S,
  });
}

const LOOPBACK_NAME = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i;

/** Both ends must be this machine; the Host check stops pages that rebind their own name to 127.0.0.1. */
function isLocalBrowser(request: FastifyRequest): boolean {
  const remote = request.socket.remoteAddress ?? '';
  const fromLoopback = remote === '::1' || /^(::ffff:)?127\./.test(remote);
  const site = request.headers['sec-fetch-site'];
  const sameSite = site === undefined || site === 'same-origin' || site === 'none';
  const origin = request.headers.origin;
  const sameOrigin = origin === undefined || LOOPBACK_NAME.test(origin.replace(/^https?:\/\//, ''));
  return fromLoopback && sameSite && sameOrigin && LOOPBACK_NAME.test(request.headers.host ?? '');
}
