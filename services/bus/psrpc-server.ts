import { createHash, randomInt } from 'node:crypto';
import type { Message, PartialMessage } from '@bufbuild/protobuf';
import { unixNs } from '../base/clock.ts';
import { ServiceError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import type { Logger } from '../base/logger.ts';
import type { RpcHandler, RpcMethod, ServeOptions, Unregister } from './bus.ts';
import type { BusCounters } from './bus-counters.ts';
import { handlerError } from './handler-error.ts';
import { claimChannel, grantChannel, requestChannel, responseChannel } from './psrpc-channels.ts';
import { toPsrpcCode } from './psrpc-errors.ts';
import {
  ClaimRequest,
  ClaimResponse,
  decodeFrame,
  encodeFrame,
  MAX_FRAME_BYTES,
  Request,
  requestPayload,
  Response,
} from './psrpc-frames.ts';
import type { RedisConnection } from './redis-connection.ts';

/** A client chooses within about a second; one that never does must not be remembered until its expiry. */
const MAX_GRANT_WAIT_MS = 30_000;
/** Requests one server works on or waits for at the same time. */
const MAX_REQUESTS = 10_000;
/** psrpc's. Long enough for all consumers to have seen the message. */
const QUEUE_LOCK_S = 5;
const NS_PER_MS = 1_000_000n;

type Parts = { connection: RedisConnection; logger: Logger; counters: BusCounters };

/** One registration of a handler for a method and topic: listens, bids, waits for the grant, answers. */
export class PsrpcServer<Req extends Message<Req>, Res extends Message<Res>> {
  readonly #serverId = newId('SRV_');
  readonly #parts: Parts;
  readonly #method: RpcMethod<Req, Res>;
  readonly #handler: RpcHandler<Req, Res>;
  readonly #options: ServeOptions<Req>;
  /** Requests this server bid for, by id. */
  readonly #bids = new Map<string, (isGranted: boolean) => void>();
  #running = 0;
  #stopRequests: Unregister | undefined;
  #stopGrants: Unregister | undefined;
  #isClosed = false;

  constructor(
    parts: Parts,
    method: RpcMethod<Req, Res>,
    handler: RpcHandler<Req, Res>,
    options: ServeOptions<Req>,
  ) {
    this.#parts = parts;
    this.#method = method;
    this.#handler = handler;
    this.#options = options;
  }

  async open(): Promise<void> {
    const { connection } = this.#parts;
    const { topic } = this.#options;
    if (this.#method.requireClaim) {
      const grants = grantChannel(this.#method, topic);
      this.#stopGrants = await connection.subscribe(grants, (bytes) => this.#onGrant(grants, bytes));
    }
    const requests = requestChannel(this.#method, topic);
    this.#stopRequests = await connection.subscribe(requests, (bytes) => {
      this.#onRequest(requests, bytes).catch((error: unknown) => {
        this.#parts.counters.drop('undelivered', requests, error);
      });
    });
  }

  /** Takes no more requests. Those in work are finished and answered. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#stopRequests?.();
    this.#stopRequests = undefined;
    await this.#releaseGrants();
  }

  /** A bid that was sent may still be granted. */
  async #releaseGrants(): Promise<void> {
    if (this.#isClosed && this.#bids.size === 0) {
      const stop = this.#stopGrants;
      this.#stopGrants = undefined;
      await stop?.();
    }
  }

  #onGrant(channel: string, bytes: Uint8Array): void {
    const grant = this.#read(ClaimResponse, channel, bytes);
    if (grant !== undefined) {
      this.#bids.get(grant.requestId)?.(grant.serverId === this.#serverId);
    }
  }

  async #onRequest(channel: string, bytes: Uint8Array): Promise<void> {
    if (bytes.length > MAX_FRAME_BYTES) {
      this.#parts.counters.drop('oversized', channel, `${bytes.length} bytes`);
      return;
    }
    if (this.#running >= MAX_REQUESTS) {
      this.#parts.counters.drop('overload', channel, `${this.#running} requests in work`);
      return;
    }
    this.#running += 1;
    try {
      if (this.#method.queue && !(await this.#takeFromQueue(bytes))) {
        return;
      }
      const request = this.#read(Request, channel, bytes);
      if (request === undefined || this.#isClosed) {
        return;
      }
      if (request.clientId === '' || request.requestId === '') {
        this.#parts.counters.drop('malformed', channel, 'a request without client_id or request_id');
      } else if (request.expiry <= unixNs()) {
        this.#parts.counters.drop(
          'expired',
          channel,
          `${(unixNs() - request.expiry) / NS_PER_MS} ms too late`,
        );
      } else {
        await this.#serve(request);
      }
    } finally {
      this.#running -= 1;
    }
  }

  async #serve(request: Request): Promise<void> {
    let message: Req;
    try {
      message = this.#method.request.fromBinary(requestPayload(request));
    } catch (error) {
      await this.#respond(
        request,
        new ServiceError('malformed', 'request cannot be decoded', { cause: error }),
      );
      return;
    }
    if (this.#method.requireClaim && !(await this.#claim(request, message))) {
      return;
    }
    let result: Uint8Array | ServiceError;
    try {
      const response = await this.#handler(message);
      result = new this.#method.response(response as PartialMessage<Res>).toBinary();
    } catch (error) {
      result = handlerError(error, this.#method, this.#parts.logger);
    }
    await this.#respond(request, result);
  }

  /** Every consumer hears the message; the lock, in psrpc's form, picks one. */
  async #takeFromQueue(bytes: Uint8Array): Promise<boolean> {
    const key = createHash('sha256').update(bytes).digest('base64');
    const value = randomInt(2 ** 48 - 1);
    const taken = await this.#parts.connection.run((redis) =>
      redis.set(key, value, 'EX', QUEUE_LOCK_S, 'NX'),
    );
    return taken === 'OK';
  }

  async #claim(request: Request, message: Req): Promise<boolean> {
    const affinity = this.#method.affinity ? (this.#options.affinity?.(message) ?? 1) : 1;
    if (affinity < 0) {
      return false;
    }
    const waitMs = Math.min(Number((request.expiry - unixNs()) / NS_PER_MS), MAX_GRANT_WAIT_MS);
    const { requestId, clientId } = request;
    const granted = new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(false), waitMs);
      this.#bids.set(requestId, (isGranted) => {
        clearTimeout(timer);
        resolve(isGranted);
      });
    });
    try {
      const bid = new ClaimRequest({ requestId, serverId: this.#serverId, affinity });
      await this.#publish(claimChannel(this.#method.service, clientId), encodeFrame(bid), waitMs);
      return await granted;
    } finally {
      // Clears the timer when the bid could not be sent.
      this.#bids.get(requestId)?.(false);
      this.#bids.delete(requestId);
      await this.#releaseGrants();
    }
  }

  async #respond(request: Request, result: Uint8Array | ServiceError): Promise<void> {
    const { requestId, clientId, expiry } = request;
    const channel = responseChannel(this.#method.service, clientId);
    const head = { requestId, serverId: this.#serverId, sentAt: unixNs() };
    const failure = (error: ServiceError): Uint8Array =>
      // psrpc takes an empty text for success.
      encodeFrame(
        new Response({ ...head, error: error.message || error.code, code: toPsrpcCode(error.code) }),
      );
    let frame =
      result instanceof ServiceError
        ? failure(result)
        : encodeFrame(new Response({ ...head, rawResponse: result }));
    if (frame.length > MAX_FRAME_BYTES) {
      frame = failure(
        new ServiceError('resource_exhausted', `answer of ${frame.length} bytes is too large for the bus`),
      );
    }
    try {
      await this.#publish(channel, frame, Number((expiry - unixNs()) / NS_PER_MS));
    } catch (error) {
      this.#parts.counters.drop('undelivered', channel, error);
    }
  }

  async #publish(channel: string, frame: Uint8Array, waitMs: number): Promise<void> {
    await this.#parts.connection.run(
      (redis) => redis.publish(channel, Buffer.from(frame)),
      Math.max(0, waitMs),
    );
  }

  #read<T extends Message<T>>(
    type: Parameters<typeof decodeFrame<T>>[0],
    channel: string,
    bytes: Uint8Array,
  ): T | undefined {
    try {
      return decodeFrame(type, bytes);
    } catch (error) {
      this.#parts.counters.drop('malformed', channel, error);
      return undefined;
    }
  }
}
