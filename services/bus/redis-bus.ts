import type { Message, PartialMessage } from '@bufbuild/protobuf';
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
import { BusCounters, type DropReason } from './bus-counters.ts';
import { noResponse } from './deadline.ts';
import { eventChannel } from './psrpc-channels.ts';
import { PsrpcClient } from './psrpc-client.ts';
import { MAX_FRAME_BYTES } from './psrpc-frames.ts';
import { PsrpcServer } from './psrpc-server.ts';
import { RedisConnection, type RedisHealth, type RedisState } from './redis-connection.ts';
import { readRedisConfig, type RedisConfig } from './redis-options.ts';

export type RedisBusOptions = {
  redis: RedisConfig;
  logger: Logger;
  /** How long the first connection may take; default 10 s. */
  connectTimeoutMs?: number;
  signal?: AbortSignal;
};

const DEFAULT_CONNECT_TIMEOUT_MS = 10_000;

/**
 * Joins services on several machines through one Redis, and speaks psrpc on it, so that LiveKit's own server and
 * workers can sit on either end.
 *
 * Without connection, `request` waits as long as its timeout allows and then says unavailable; `serve` and
 * `subscribe` take effect when Redis is back; `publish` waits 5 s. What was published meanwhile is lost.
 * @throws ServiceError unavailable naming the address when Redis cannot be reached in time; unauthenticated when
 *   it refuses the password; invalid_argument or unimplemented naming a configuration key.
 */
export async function connectRedisBus(options: RedisBusOptions): Promise<RedisBus> {
  const connection = await RedisConnection.open({
    target: readRedisConfig(options.redis),
    logger: options.logger,
    connectTimeoutMs: options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS,
    signal: options.signal,
  });
  return new RedisBus(connection, options.logger);
}

export class RedisBus implements Bus {
  /** For stores and leases, which share the bus's connection. */
  readonly connection: RedisConnection;
  readonly #logger: Logger;
  readonly #counters: BusCounters;
  readonly #client: PsrpcClient;
  readonly #servers = new Set<{ close(): Promise<void> }>();
  #isClosed = false;

  constructor(connection: RedisConnection, logger: Logger) {
    this.connection = connection;
    this.#logger = logger;
    this.#counters = new BusCounters(logger);
    this.#client = new PsrpcClient(connection, this.#counters);
  }

  state(): RedisState {
    return this.connection.state;
  }

  health(): RedisHealth {
    return this.connection.health();
  }

  /** Messages dropped since the start, by reason. */
  dropped(): Record<DropReason, number> {
    return this.#counters.snapshot();
  }

  async request<Req extends Message<Req>, Res extends Message<Res>>(
    method: RpcMethod<Req, Res>,
    request: Req | PartialMessage<Req>,
    options: RequestOptions = {},
  ): Promise<Res> {
    return this.#client.request(method, request, options);
  }

  async requestMulti<Req extends Message<Req>, Res extends Message<Res>>(
    method: RpcMethod<Req, Res>,
    request: Req | PartialMessage<Req>,
    options: RequestOptions = {},
  ): Promise<Res[]> {
    return this.#client.requestMulti(method, request, options);
  }

  async serve<Req extends Message<Req>, Res extends Message<Res>>(
    method: RpcMethod<Req, Res>,
    handler: RpcHandler<Req, Res>,
    options: ServeOptions<Req> = {},
  ): Promise<Unregister> {
    const server = new PsrpcServer(
      { connection: this.connection, logger: this.#logger, counters: this.#counters },
      method,
      handler,
      options,
    );
    await server.open();
    this.#servers.add(server);
    return async () => {
      this.#servers.delete(server);
      await server.close();
    };
  }

  async publish<Event extends Message<Event>>(
    channel: EventChannel<Event>,
    event: PartialMessage<Event>,
  ): Promise<void> {
    if (this.#isClosed) {
      throw noResponse();
    }
    const bytes = Buffer.from(new channel.event(event).toBinary());
    await this.connection.run((redis) => redis.publish(eventChannel(channel.channel), bytes));
  }

  async subscribe<Event extends Message<Event>>(
    channel: EventChannel<Event>,
    listener: (event: Event) => void,
  ): Promise<Unregister> {
    const name = eventChannel(channel.channel);
    return this.connection.subscribe(name, (bytes) => {
      if (bytes.length > MAX_FRAME_BYTES) {
        this.#counters.drop('oversized', name, `${bytes.length} bytes`);
        return;
      }
      let event: Event;
      try {
        event = channel.event.fromBinary(bytes);
      } catch (error) {
        this.#counters.drop('malformed', name, error);
        return;
      }
      listener(event);
    });
  }

  /** Requests in flight fail; then both connections end. Idempotent. */
  async close(): Promise<void> {
    if (this.#isClosed) {
      return;
    }
    this.#isClosed = true;
    this.#client.close();
    await Promise.all([...this.#servers].map((server) => server.close()));
    this.#servers.clear();
    await this.connection.close();
  }
}
