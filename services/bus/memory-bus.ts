import type { Message, PartialMessage } from '@bufbuild/protobuf';
import { ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import type {
  Bus,
  EventChannel,
  RequestOptions,
  RpcHandler,
  RpcMethod,
  ServeOptions,
  Unregister,
} from './bus.ts';
import {
  DEFAULT_MULTI_TIMEOUT_MS,
  DEFAULT_REQUEST_TIMEOUT_MS,
  noResponse,
  raceDeadline,
} from './deadline.ts';
import { handlerError } from './handler-error.ts';

type Server = {
  affinity: (request: unknown) => number;
  /** Takes and returns wire bytes, so that nobody can share a mutable message by accident. */
  handle: (request: Uint8Array) => Promise<Uint8Array>;
};

/** The bus of a single process (`npm start`): same contract as the Redis bus, no network. */
export class MemoryBus implements Bus {
  readonly #servers = new Map<string, Set<Server>>();
  readonly #listeners = new Map<string, Set<(event: Uint8Array) => void>>();
  readonly #logger: Logger | undefined;
  #closed = false;

  constructor(options: { logger?: Logger } = {}) {
    this.#logger = options.logger;
  }

  async request<Req extends Message<Req>, Res extends Message<Res>>(
    method: RpcMethod<Req, Res>,
    request: Req | PartialMessage<Req>,
    options: RequestOptions = {},
  ): Promise<Res> {
    const message = new method.request(request as PartialMessage<Req>);
    const server = this.#pick(method, message, options.topic);
    if (this.#closed || server === undefined) {
      throw noResponse();
    }
    const timeoutMs = options.timeoutMs ?? DEFAULT_REQUEST_TIMEOUT_MS;
    const response = await raceDeadline(server.handle(message.toBinary()), timeoutMs, options.signal);
    return method.response.fromBinary(response);
  }

  async requestMulti<Req extends Message<Req>, Res extends Message<Res>>(
    method: RpcMethod<Req, Res>,
    request: Req | PartialMessage<Req>,
    options: RequestOptions = {},
  ): Promise<Res[]> {
    const bytes = new method.request(request as PartialMessage<Req>).toBinary();
    const servers = [...(this.#servers.get(channelKey(method, options.topic)) ?? [])];
    const timeoutMs = options.timeoutMs ?? DEFAULT_MULTI_TIMEOUT_MS;
    const answers = await Promise.allSettled(
      servers.map((server) => raceDeadline(server.handle(bytes), timeoutMs, options.signal)),
    );
    if (options.signal?.aborted === true) {
      throw new ServiceError('canceled', 'request canceled');
    }
    return answers
      .filter((answer) => answer.status === 'fulfilled')
      .map((answer) => method.response.fromBinary(answer.value));
  }

  serve<Req extends Message<Req>, Res extends Message<Res>>(
    method: RpcMethod<Req, Res>,
    handler: RpcHandler<Req, Res>,
    options: ServeOptions<Req> = {},
  ): Promise<Unregister> {
    const key = channelKey(method, options.topic);
    const server: Server = {
      affinity: (request) => options.affinity?.(request as Req) ?? 1,
      handle: async (bytes) => {
        try {
          const result = await handler(method.request.fromBinary(bytes));
          return new method.response(result as PartialMessage<Res>).toBinary();
        } catch (error) {
          throw handlerError(error, method, this.#logger);
        }
      },
    };
    const set = this.#servers.get(key) ?? new Set();
    this.#servers.set(key, set.add(server));
    return Promise.resolve(() => {
      set.delete(server);
      if (set.size === 0 && this.#servers.get(key) === set) {
        this.#servers.delete(key);
      }
      return Promise.resolve();
    });
  }

  publish<Event extends Message<Event>>(
    channel: EventChannel<Event>,
    event: PartialMessage<Event>,
  ): Promise<void> {
    const bytes = new channel.event(event).toBinary();
    for (const listener of this.#listeners.get(channel.channel) ?? []) {
      queueMicrotask(() => {
        try {
          listener(bytes);
        } catch (error) {
          this.#logger?.error({ err: error, channel: channel.channel }, 'bus listener failed');
        }
      });
    }
    return Promise.resolve();
  }

  subscribe<Event extends Message<Event>>(
    channel: EventChannel<Event>,
    listener: (event: Event) => void,
  ): Promise<Unregister> {
    const set = this.#listeners.get(channel.channel) ?? new Set();
    const receive = (bytes: Uint8Array): void => {
      listener(channel.event.fromBinary(bytes));
    };
    this.#listeners.set(channel.channel, set.add(receive));
    return Promise.resolve(() => {
      set.delete(receive);
      return Promise.resolve();
    });
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#servers.clear();
    this.#listeners.clear();
    return Promise.resolve();
  }

  #pick<Req extends Message<Req>, Res extends Message<Res>>(
    method: RpcMethod<Req, Res>,
    request: Req,
    topic: string | undefined,
  ): Server | undefined {
    let best: Server | undefined;
    let bestAffinity = 0;
    for (const server of this.#servers.get(channelKey(method, topic)) ?? []) {
      const affinity = method.affinity ? server.affinity(request) : 1;
      if (affinity > bestAffinity) {
        best = server;
        bestAffinity = affinity;
      }
    }
    return best;
  }
}

function channelKey(method: { service: string; method: string }, topic: string | undefined): string {
  return [method.service, method.method, topic ?? ''].join('|');
}
