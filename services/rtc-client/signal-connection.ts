/* eslint-disable @typescript-eslint/no-deprecated -- the oneof field `value` is not deprecated, only one of its cases is */
import { Ping, SignalRequest, SignalResponse } from '@livekit/protocol';
import { WebSocket, type RawData } from 'ws';
import type { Logger } from '../base/logger.ts';

export type SignalResponseMessage = SignalResponse['message'];
export type SignalRequestMessage = SignalRequest['message'];

const CLOSE_TIMEOUT_MS = 250;
/** LiveKit's defaults, for a server that leaves the fields empty. */
const DEFAULT_PING_INTERVAL_S = 5;
const DEFAULT_PING_TIMEOUT_S = 15;

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
