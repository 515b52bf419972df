import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import type { Metrics } from '../base/metrics/metrics.ts';
import type { ApiKeys } from '../protocol/token.ts';
import {
  encodingOf,
  TWIRP_CONTENT_TYPE,
  TWIRP_PREFIX,
  twirpError,
  type TwirpEncoding,
} from '../protocol/twirp.ts';
import type { ApiRoute } from './api-method.ts';
import { authenticate } from './grant-check.ts';

export type TwirpMountOptions = {
  routes: readonly ApiRoute[];
  keys: ApiKeys;
  logger: Logger;
  metrics: Metrics;
};

/** Methods of LiveKit's API that are known and deliberately refused, so that callers are not left guessing. */
const NOT_IN_THIS_VERSION: ReadonlySet<string> = new Set([
  'livekit.RoomService/ForwardParticipant',
  'livekit.RoomService/MoveParticipant',
  'livekit.RoomService/PerformRpc',
]);

/** Puts the API tables on `POST /twirp/<service>/<method>`; everything else below /twirp/ is a bad route. */
export function mountTwirp(app: FastifyInstance, options: TwirpMountOptions): void {
  const routes = new Map(options.routes.map((entry) => [`${entry.service}/${entry.method}`, entry]));
  const seconds = options.metrics.histogram(
    'livekit_api_request_seconds',
    'Duration of API calls.',
    [0.005, 0.02, 0.1, 0.5, 2, 10],
    ['method', 'code'],
  );

  app.all(`${TWIRP_PREFIX}*`, async (request, reply) => {
    const name = (request.params as { '*': string })['*'].replace(/^\/+/, '');
    const known = routes.has(name) || NOT_IN_THIS_VERSION.has(name);
    const end = seconds.startTimer({ method: known ? name : 'unknown' });
    try {
      await answer(request, reply, name, routes, options.keys);
      end({ code: 'ok' });
    } catch (error) {
      const { status, body } = twirpError(error);
      end({ code: body.code });
      if (status >= 500 && body.code !== 'unimplemented') {
        options.logger.warn({ method: known ? name : 'unknown', err: error }, 'API call failed');
      }
      await send(reply.code(status), 'json', JSON.stringify(body));
    }
    return reply;
  });
}

async function answer(
  request: FastifyRequest,
  reply: FastifyReply,
  name: string,
  routes: ReadonlyMap<string, ApiRoute>,
  keys: ApiKeys,
): Promise<void> {
  if (request.method !== 'POST') {
    throw new ServiceError('bad_route', `unsupported method "${request.method}" (only POST is allowed)`);
  }
  const entry = routes.get(name);
  if (entry === undefined) {
    throw NOT_IN_THIS_VERSION.has(name)
      ? new ServiceError('unimplemented', `${name} is not in this version`)
      : new ServiceError('bad_route', `no handler for path "${TWIRP_PREFIX}${name.slice(0, 100)}"`);
  }
  const encoding = encodingOf(request.headers['content-type']);
  const claims = await authenticate(request.headers.authorization, keys);
  const body = request.body instanceof Uint8Array ? request.body : new Uint8Array();
  const result = await entry.call(claims, encoding, body);
  await send(reply, encoding, result);
}

/** As bytes: for text Fastify appends a charset, and LiveKit's SDK parses errors of exactly "application/json". */
async function send(
  reply: FastifyReply,
  encoding: TwirpEncoding,
  payload: Uint8Array | string,
): Promise<void> {
  await reply.header('content-type', TWIRP_CONTENT_TYPE[encoding]).send(Buffer.from(payload));
}
