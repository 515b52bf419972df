import type { Message, MessageType, PartialMessage } from '@bufbuild/protobuf';

/** How requests of one method find their server; part of the wire contract, both sides must agree. */
export type RpcRouting = {
  /** Servers bid with an affinity in (0, 1]; 0 never wins, below 0 means "not me" and stays silent. */
  affinity: boolean;
  /** A server claims the request and runs it only when the client grants it. */
  requireClaim: boolean;
  /** Exactly one of all consumers sees a request, even before any claim. */
  queue: boolean;
  /** Everybody answers; `requestMulti` collects. */
  multi: boolean;
  /** With affinity: how long the client waits for better bids after the first one. A bid of 1 wins at once. */
  shortCircuitMs: number;
};

/**
 * The bus joins API, SFU, ingress and egress. Its shape is psrpc's (the RPC LiveKit puts on Redis): requests
 * are addressed to a service, a method and an optional topic; several servers may bid for one request with an
 * affinity. The in-memory bus and the Redis bus pass the same contract tests.
 */
export type RpcMethod<Req extends Message<Req>, Res extends Message<Res>> = RpcRouting & {
  service: string;
  method: string;
  request: MessageType<Req>;
  response: MessageType<Res>;
};

export type RpcHandler<Req extends Message<Req>, Res extends Message<Res>> = (
  request: Req,
) => Promise<Res | PartialMessage<Res>>;

export type RequestOptions = { topic?: string; timeoutMs?: number; signal?: AbortSignal };

export type ServeOptions<Req extends Message<Req>> = {
  topic?: string;
  /** Only for methods with `affinity`; default 1. */
  affinity?: (request: Req) => number;
};

/** Fire-and-forget notification; every subscriber of the channel gets it, in order per publisher. */
export type EventChannel<Event extends Message<Event>> = { channel: string; event: MessageType<Event> };

export type Unregister = () => Promise<void>;

export type Bus = {
  /**
   * @throws ServiceError unavailable "no response from servers" when nobody serves the method and topic;
   *   deadline_exceeded after timeoutMs (default 10 s); otherwise the handler's own ServiceError, code kept.
   */
  request<Req extends Message<Req>, Res extends Message<Res>>(
    method: RpcMethod<Req, Res>,
    request: Req | PartialMessage<Req>,
    options?: RequestOptions,
  ): Promise<Res>;
  /**
   * Asks every server of a `multi` method and returns what arrived within timeoutMs (default 1 s), in no order;
   * a server that answers with an error is left out. Empty when nobody serves it.
   */
  requestMulti<Req extends Message<Req>, Res extends Message<Res>>(
    method: RpcMethod<Req, Res>,
    request: Req | PartialMessage<Req>,
    options?: RequestOptions,
  ): Promise<Res[]>;
  serve<Req extends Message<Req>, Res extends Message<Res>>(
    method: RpcMethod<Req, Res>,
    handler: RpcHandler<Req, Res>,
    options?: ServeOptions<Req>,
  ): Promise<Unregister>;
  publish<Event extends Message<Event>>(
    channel: EventChannel<Event>,
    event: PartialMessage<Event>,
  ): Promise<void>;
  subscribe<Event extends Message<Event>>(
    channel: EventChannel<Event>,
    listener: (event: Event) => void,
  ): Promise<Unregister>;
  close(): Promise<void>;
};
