import { gzipSync } from 'node:zlib';
import {
  ClientInfo,
  ClientInfo_SDK,
  ConnectionSettings,
  DisconnectReason,
  JoinRequest,
  LeaveRequest_Action,
  Ping,
  SignalRequest,
  SignalResponse,
  WrappedJoinRequest,
  WrappedJoinRequest_Compression,
  type JoinResponse,
  type ReconnectReason,
  type ReconnectResponse,
  type SessionDescription,
} from '@livekit/protocol';
import { WebSocket, type RawData } from 'ws';
import { ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';

export type SignalResponseMessage = SignalResponse['message'];
export type SignalRequestMessage = SignalRequest['message'];

export type OpenSignalOptions = {
  url: string;
  token: string;
  autoSubscribe: boolean;
  /** Join: the first offer travels with the request. Resume: the session to take up again. */
  intent:
    | { type: 'join'; offer: SessionDescription }
    | { type: 'resume'; participantSid: string; reason: ReconnectReason };
  signal: AbortSignal;
  timeoutMs: number;
  logger: Logger;
};

export type OpenedSignal = {
  connection: SignalConnection;
  /** reconnect: undefined response when the server resumed without saying so; its message is delivered by start(). */
  first:
    { type: 'join'; response: JoinResponse } | { type: 'reconnect'; response: ReconnectResponse | undefined };
};

/** LiveKit's protocol version: 16 and later carry everything used here. */
const PROTOCOL_VERSION = 16;
const CLIENT_VERSION = '2.22.0';
const MAX_MESSAGE_BYTES = 16 << 20;
const MAX_ERROR_BODY_BYTES = 4096;
const CLOSE_TIMEOUT_MS = 250;
/** LiveKit's defaults, for a server that leaves the fields empty. */
const DEFAULT_PING_INTERVAL_S = 5;
const DEFAULT_PING_TIMEOUT_S = 15;

/** The server wants this session to end or to be set up differently; thrown while connecting. */
export class LeaveError extends ServiceError {
  readonly action: LeaveRequest_Action;

  constructor(action: LeaveRequest_Action, reason: DisconnectReason, cause?: unknown) {
    super('aborted', `the session cannot go on: ${DisconnectReason[reason]}`, { cause });
    this.action = action;
  }
}

function rtcUrl(options: OpenSignalOptions): URL {
  let url: URL;
  try {
    url = new URL(options.url);
  } catch (error) {
    throw new ServiceError('invalid_argument', 'the server URL is not a URL: use ws://host:port', {
      cause: error,
    });
  }
  url.protocol = url.protocol.replace(/^http/, 'ws');
  if (url.protocol !== 'ws:' && url.protocol !== 'wss:') {
    throw new ServiceError('invalid_argument', `the server URL has scheme ${url.protocol}: use ws or wss`);
  }
  url.pathname = `${url.pathname.replace(/\/$/, '')}/rtc/v1`;
  const { intent } = options;
  const request = new JoinRequest({
    clientInfo: new ClientInfo({
      sdk: ClientInfo_SDK.NODE,
      version: CLIENT_VERSION,
      protocol: PROTOCOL_VERSION,
      os: process.platform,
    }),
    connectionSettings: new ConnectionSettings({
      autoSubscribe: options.autoSubscribe,
      adaptiveStream: false,
    }),
    ...(intent.type === 'join'
      ? { publisherOffer: intent.offer }
      : { reconnect: true, participantSid: intent.participantSid, reconnectReason: intent.reason }),
  });
  const wrapped = new WrappedJoinRequest({
    compression: WrappedJoinRequest_Compression.GZIP,
    joinRequest: new Uint8Array(gzipSync(request.toBinary())),
  });
  url.searchParams.set('join_request', Buffer.from(wrapped.toBinary()).toString('base64url'));
  return url;
}

function refusal(status: number, body: string): ServiceError {
  const detail = body.trim() === '' ? `HTTP ${status}` : body.trim();
  switch (status) {
    case 401:
      return new ServiceError('unauthenticated', `the server refused the token: ${detail}`);
    case 403:
      return new ServiceError('permission_denied', `the server refused to let us join: ${detail}`);
    case 404:
      return body.includes('requested room does not exist')
        ? new ServiceError('not_found', detail)
        : new ServiceError(
            'unavailable',
            'the server has no /rtc/v1 signalling endpoint: it needs LiveKit 1.9 or later',
            { retryable: false },
          );
    case 429:
      return new ServiceError('resource_exhausted', `the server refused to let us join: ${detail}`, {
        retryable: true,
      });
    default:
      return new ServiceError('unavailable', `the signalling connection was refused: ${detail}`);
  }
}

/**
 * Opens the signalling WebSocket and waits for the first message.
 * @throws ServiceError unauthenticated | permission_denied | not_found | unavailable | deadline_exceeded | canceled;
 * LeaveError when the server answers with leave.
 */
export async function openSignal(options: OpenSignalOptions): Promise<OpenedSignal> {
  const url = rtcUrl(options);
  options.signal.throwIfAborted();
  const socket = new WebSocket(url, {
    headers: { authorization: `Bearer ${options.token}` },
    perMessageDeflate: false,
    maxPayload: MAX_MESSAGE_BYTES,
    handshakeTimeout: options.timeoutMs,
  });
  const connection = new SignalConnection(socket, options.logger);
  try {
    const message = await firstMessage(connection, socket, options);
    switch (message.case) {
      case 'join':
        connection.startPing(message.value.pingInterval, message.value.pingTimeout);
        return { connection, first: { type: 'join', response: message.value } };
      case 'reconnect':
        connection.startPing(0, 0);
        return { connection, first: { type: 'reconnect', response: message.value } };
      case 'leave':
        throw new LeaveError(message.value.action, message.value.reason);
      default:
        if (options.intent.type === 'join') {
          throw new ServiceError(
            'unavailable',
            `the server began with ${String(message.case)}, not with join`,
          );
        }
        // Any message means that the session was taken up again.
        connection.requeue(message);
        connection.startPing(0, 0);
        return { connection, first: { type: 'reconnect', response: undefined } };
    }
  } catch (error) {
    await connection.close();
    throw error;
  }
}

function firstMessage(
  connection: SignalConnection,
  socket: WebSocket,
  options: OpenSignalOptions,
): Promise<SignalResponseMessage> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(
        new ServiceError('deadline_exceeded', `no answer from the server within ${options.timeoutMs} ms`),
      );
    }, options.timeoutMs);
    const onAbort = (): void => reject(new ServiceError('canceled', 'connecting was cancelled'));
    options.signal.addEventListener('abort', onAbort, { once: true });
    const settle = (): void => {
      clearTimeout(timer);
      options.signal.removeEventListener('abort', onAbort);
    };
    socket.on('unexpected-response', (_request, response) => {
      const status = response.statusCode ?? 0;
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        body = (body + chunk).slice(0, MAX_ERROR_BODY_BYTES);
      });
      response.on('close', () => {
        settle();
        reject(refusal(status, body));
      });
    });
    connection.awaitFirst(
      (message) => {
        settle();
        resolve(message);
      },
      (cause) => {
        settle();
        reject(new ServiceError('unavailable', `the signalling connection failed: ${cause}`));
      },
    );
  });
}

/** One signalling WebSocket after its upgrade. */
export class SignalConnection {
  readonly #socket: WebSocket;
  readonly #logger: Logger;
  readonly #queue: SignalResponseMessage[] = [];
  #onFirst: ((message: SignalResponseMessage) => void) | undefined;
  #onMessage: ((message: SignalResponseMessage) => void) | undefined;
  #onClosed: (cause: string) => void = () => undefined;
  #pingInterval: NodeJS.Timeout | undefined;
  #pingTimeout: NodeJS.Timeout | undefined;
  #roundTripMs = 0;
  #closed = false;

  constructor(socket: WebSocket, logger: Logger) {
    this.#socket = socket;
    this.#logger = logger;
    socket.on('message', (data: RawData, isBinary: boolean) => this.#receive(data, isBinary));
    socket.on('error', (error) => this.#end(error.message));
    socket.on('close', (code) => this.#end(`the server closed the WebSocket (${code})`));
  }

  awaitFirst(onFirst: (message: SignalResponseMessage) => void, onClosed: (cause: string) => void): void {
    this.#onFirst = onFirst;
    this.#onClosed = onClosed;
  }

  requeue(message: SignalResponseMessage): void {
    this.#queue.unshift(message);
  }

  /** Delivers what came since the first message and everything after. `onClosed` is called once. */
  start(onMessage: (message: SignalResponseMessage) => void, onClosed: (cause: string) => void): void {
    this.#onMessage = onMessage;
    this.#onClosed = onClosed;
    for (const message of this.#queue.splice(0)) {
      onMessage(message);
    }
    if (this.#closed) {
      onClosed('the WebSocket closed right after connecting');
    }
  }

  send(message: SignalRequestMessage): void {
    if (this.#socket.readyState === WebSocket.OPEN) {
      this.#socket.send(new SignalRequest({ message }).toBinary());
    }
  }

  /** Both kinds of ping are sent, as livekit-client does for old and new servers. 0 = LiveKit's defaults. */
  startPing(intervalS: number, timeoutS: number): void {
    const intervalMs = (intervalS > 0 ? intervalS : DEFAULT_PING_INTERVAL_S) * 1000;
    const timeoutMs = (timeoutS > 0 ? timeoutS : DEFAULT_PING_TIMEOUT_S) * 1000;
    this.#pingInterval = setInterval(() => {
      const nowMs = BigInt(Date.now());
      this.send({ case: 'ping', value: nowMs });
      this.send({
        case: 'pingReq',
        value: new Ping({ timestamp: nowMs, rtt: BigInt(Math.round(this.#roundTripMs)) }),
      });
    }, intervalMs);
    this.#pingTimeout = setTimeout(() => {
      this.#end('the server answered no ping');
      this.#socket.terminate();
    }, timeoutMs);
  }

  /** Idempotent; no callback follows. */
  async close(): Promise<void> {
    this.#onMessage = undefined;
    this.#onFirst = undefined;
    this.#onClosed = () => undefined;
    this.#end('closed by us');
    if (this.#socket.readyState === WebSocket.CLOSED) {
      return;
    }
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => {
        this.#socket.terminate();
        resolve();
      }, CLOSE_TIMEOUT_MS);
      this.#socket.once('close', () => {
        clearTimeout(timer);
        resolve();
      });
      this.#socket.close(1000);
    });
  }

  #receive(data: RawData, isBinary: boolean): void {
    let message: SignalResponseMessage;
    try {
      const bytes = Buffer.isBuffer(data)
        ? data
        : Buffer.concat(Array.isArray(data) ? data : [Buffer.from(data)]);
      message = isBinary
        ? SignalResponse.fromBinary(bytes).message
        : SignalResponse.fromJsonString(bytes.toString('utf8'), { ignoreUnknownFields: true }).message;
    } catch (error) {
      this.#logger.warn({ err: error }, 'unreadable signalling message ignored');
      return;
    }
    if (message.case === undefined) {
      return;
    }
    this.#pingTimeout?.refresh();
    if (message.case === 'pongResp') {
      this.#roundTripMs = Math.max(0, Date.now() - Number(message.value.lastPingTimestamp));
      return;
    }
    if (message.case === 'pong') {
      return;
    }
    if (this.#onFirst !== undefined) {
      const onFirst = this.#onFirst;
      this.#onFirst = undefined;
      onFirst(message);
    } else if (this.#onMessage === undefined) {
      this.#queue.push(message);
    } else {
      this.#onMessage(message);
    }
  }

  #end(cause: string): void {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    clearInterval(this.#pingInterval);
    clearTimeout(this.#pingTimeout);
    const onClosed = this.#onClosed;
    this.#onClosed = () => undefined;
    onClosed(cause);
  }
}
