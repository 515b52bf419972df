import type { Message, PartialMessage } from '@bufbuild/protobuf';
import { unixNs } from '../base/clock.ts';
import { ServiceError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import type { RequestOptions, RpcMethod } from './bus.ts';
import type { BusCounters } from './bus-counters.ts';
import {
  DEFAULT_MULTI_TIMEOUT_MS,
  DEFAULT_REQUEST_TIMEOUT_MS,
  noResponse,
  raceDeadline,
  timedOut,
} from './deadline.ts';
import { claimChannel, grantChannel, requestChannel, responseChannel } from './psrpc-channels.ts';
import { errorFromResponse } from './psrpc-errors.ts';
import {
  ClaimRequest,
  ClaimResponse,
  decodeFrame,
  encodeFrame,
  MAX_FRAME_BYTES,
  Request,
  Response,
  responsePayload,
} from './psrpc-frames.ts';
import { connectionLost } from './redis-errors.ts';
import type { RedisConnection } from './redis-connection.ts';
import { ServerSelection } from './server-selection.ts';

type Call = {
  selection: ServerSelection | undefined;
  onResponse: (response: Response) => void;
  onClosed: (error: ServiceError) => void;
};

/** How far a request came, for the error that tells why it has no answer. */
type Progress = { isGranted: boolean; wasInterrupted: boolean; isOver: boolean };

const NS_PER_MS = 1_000_000n;

/** The asking side: publishes requests, chooses among the servers that bid, waits for the answer. */
export class PsrpcClient {
  readonly #clientId = newId('CLI_');
  readonly #connection: RedisConnection;
  readonly #counters: BusCounters;
  readonly #calls = new Map<string, Call>();
  /** Services whose bids and answers are heard. */
  readonly #heard = new Map<string, Promise<unknown>>();
  #isClosed = false;

  constructor(connection: RedisConnection, counters: BusCounters) {
    this.#connection = connection;
    this.#counters = counters;
  }

  async request<Req extends Message<Req>, Res extends Message<Res>>(
    method: RpcMethod<Req, Res>,
    request: Req | PartialMessage<Req>,
    options: RequestOptions,
  ): Promise<Res> {
    const timeoutMs = options.timeoutMs ?? DEFAULT_REQUEST_TIMEOUT_MS;
    const frame = this.#requestFrame(method, request, timeoutMs);
    const progress: Progress = { isGranted: false, wasInterrupted: false, isOver: false };
    const stopObserving = this.#connection.observe(
      (state) => (progress.wasInterrupted ||= state !== 'ready'),
    );
    try {
      return await raceDeadline(
        this.#ask(method, frame, options.topic, timeoutMs, progress),
        timeoutMs,
        options.signal,
        () => this.#timeoutError(progress, timeoutMs),
      );
    } catch (error) {
      // Nobody bid because nobody heard.
      throw progress.wasInterrupted && !progress.isGranted && isUnanswered(error)
        ? this.#interrupted()
        : error;
    } finally {
      progress.isOver = true;
      stopObserving();
      this.#calls.get(frame.requestId)?.selection?.cancel();
      this.#calls.delete(frame.requestId);
    }
  }

  async requestMulti<Req extends Message<Req>, Res extends Message<Res>>(
    method: RpcMethod<Req, Res>,
    request: Req | PartialMessage<Req>,
    options: RequestOptions,
  ): Promise<Res[]> {
    const timeoutMs = options.timeoutMs ?? DEFAULT_MULTI_TIMEOUT_MS;
    const frame = this.#requestFrame(method, request, timeoutMs);
    const answers: Res[] = [];
    const onResponse = (response: Response): void => {
      if (response.error === '') {
        answers.push(method.response.fromBinary(responsePayload(response)));
      }
    };
    const endsAtMs = Date.now() + timeoutMs;
    try {
      await this.#hear(method.service);
      const closed = new Promise<never>((_resolve, reject) => {
        this.#calls.set(frame.requestId, { selection: undefined, onResponse, onClosed: reject });
      });
      closed.catch(() => undefined);
      const receivers = await this.#publish(requestChannel(method, options.topic), frame.bytes, timeoutMs);
      if (receivers > 0) {
        const waitMs = Math.max(0, endsAtMs - Date.now());
        await raceDeadline(closed, waitMs, options.signal).catch((error: unknown) => {
          if (!(error instanceof ServiceError) || error.code !== 'deadline_exceeded') {
            throw error;
          }
        });
      }
      return answers;
    } finally {
      this.#calls.delete(frame.requestId);
    }
  }

  close(): void {
    this.#isClosed = true;
    for (const call of this.#calls.values()) {
      call.onClosed(noResponse());
    }
  }

  async #ask<Req extends Message<Req>, Res extends Message<Res>>(
    method: RpcMethod<Req, Res>,
    frame: { requestId: string; bytes: Uint8Array },
    topic: string | undefined,
    timeoutMs: number,
    progress: Progress,
  ): Promise<Res> {
    const { requestId } = frame;
    await this.#hear(method.service);
    if (progress.isOver) {
      throw noResponse();
    }
    const selection = method.requireClaim ? new ServerSelection(method) : undefined;
    progress.isGranted = selection === undefined;
    const answered = new Promise<Response>((resolve, reject) => {
      this.#calls.set(requestId, {
        selection,
        onResponse: (response) => {
          if (progress.isGranted) {
            resolve(response);
          } else {
            selection?.onRefusal(response);
          }
        },
        onClosed: reject,
      });
    });
    answered.catch(() => undefined);
    const receivers = await this.#publish(requestChannel(method, topic), frame.bytes, timeoutMs);
    if (receivers === 0) {
      throw noResponse();
    }
    if (selection !== undefined) {
      selection.start();
      const serverId = await Promise.race([selection.selected, answered.then(noServer)]);
      // Before the grant is sent: the answer may overtake Redis's receipt.
      progress.isGranted = true;
      const grant = encodeFrame(new ClaimResponse({ requestId, serverId }));
      await this.#publish(grantChannel(method, topic), grant, timeoutMs);
    }
    const response = await answered;
    if (response.error !== '') {
      throw errorFromResponse(response);
    }
    try {
      return method.response.fromBinary(responsePayload(response));
    } catch (error) {
      throw new ServiceError('malformed', `answer of ${method.service}.${method.method} cannot be decoded`, {
        cause: error,
      });
    }
  }

  #requestFrame<Req extends Message<Req>, Res extends Message<Res>>(
    method: RpcMethod<Req, Res>,
    request: Req | PartialMessage<Req>,
    timeoutMs: number,
  ): { requestId: string; bytes: Uint8Array } {
    if (this.#isClosed) {
      throw noResponse();
    }
    const requestId = newId('REQ_');
    const sentAt = unixNs();
    const bytes = encodeFrame(
      new Request({
        requestId,
        clientId: this.#clientId,
        sentAt,
        expiry: sentAt + BigInt(Math.ceil(timeoutMs)) * NS_PER_MS,
        multi: method.multi,
        rawRequest: new method.request(request as PartialMessage<Req>).toBinary(),
      }),
    );
    if (bytes.length > MAX_FRAME_BYTES) {
      throw new ServiceError(
        'invalid_argument',
        `request of ${bytes.length} bytes to ${method.service}.${method.method} is too large: the bus carries ${MAX_FRAME_BYTES}`,
      );
    }
    return { requestId, bytes };
  }

  /** Listens for bids and answers of one service, once and for good. */
  async #hear(service: string): Promise<void> {
    let hearing = this.#heard.get(service);
    if (hearing === undefined) {
      const claims = claimChannel(service, this.#clientId);
      const responses = responseChannel(service, this.#clientId);
      hearing = Promise.all([
        this.#connection.subscribe(claims, (bytes) => {
          const claim = this.#read(ClaimRequest, claims, bytes);
          this.#calls.get(claim?.requestId ?? '')?.selection?.onClaim(claim as ClaimRequest);
        }),
        this.#connection.subscribe(responses, (bytes) => {
          const response = this.#read(Response, responses, bytes);
          this.#calls.get(response?.requestId ?? '')?.onResponse(response as Response);
        }),
      ]);
      this.#heard.set(service, hearing);
      hearing.catch(() => this.#heard.delete(service));
    }
    await hearing;
  }

  /** Returns how many connections heard it. */
  #publish(channel: string, bytes: Uint8Array, waitMs: number): Promise<number> {
    return this.#connection.run((redis) => redis.publish(channel, Buffer.from(bytes)), waitMs);
  }

  #read<T extends Message<T>>(
    type: Parameters<typeof decodeFrame<T>>[0],
    channel: string,
    bytes: Uint8Array,
  ): T | undefined {
    if (bytes.length > MAX_FRAME_BYTES) {
      this.#counters.drop('oversized', channel, `${bytes.length} bytes`);
      return undefined;
    }
    try {
      return decodeFrame(type, bytes);
    } catch (error) {
      this.#counters.drop('malformed', channel, error);
      return undefined;
    }
  }

  #timeoutError(progress: Progress, timeoutMs: number): ServiceError {
    if (progress.wasInterrupted || this.#connection.state !== 'ready') {
      return this.#interrupted();
    }
    return progress.isGranted ? timedOut(timeoutMs) : noResponse();
  }

  #interrupted(): ServiceError {
    const { lastError } = this.#connection.health();
    return connectionLost(this.#connection.address, lastError ?? 'it was lost while waiting for an answer');
  }
}

/** Only a closing bus settles a call before a server was chosen, and that rejects. */
function noServer(): never {
  throw noResponse();
}

function isUnanswered(error: unknown): boolean {
  return error instanceof ServiceError && error.code === 'unavailable';
}
