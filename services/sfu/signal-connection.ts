import type { WebSocket, RawData } from 'ws';
import { SafeEmitter } from '../base/events.ts';
import type { Logger } from '../base/logger.ts';
import {
  decodeSignalRequest,
  encodeSignalResponse,
  LEAVE_ACTION,
  type LeaveAction,
  type SignalMessage,
  type SignalRequestMessage,
} from '../protocol/signal.ts';
import { LeaveRequest, type DisconnectReason } from '@livekit/protocol';

export type SignalConnectionLimits = {
  /** Sustained requests per second and the burst above it. */
  requestsPerS: number;
  requestBurst: number;
  /** Unsent bytes after which a reader counts as stuck. */
  maxBufferedBytes: number;
  /** No frame and no WebSocket pong for this long: the peer is gone. */
  idleTimeoutMs: number;
};

export const SIGNAL_CONNECTION_LIMITS: SignalConnectionLimits = {
  requestsPerS: 200,
  requestBurst: 1000,
  maxBufferedBytes: 16 * 1024 * 1024,
  idleTimeoutMs: 30_000,
};

/** How long a client may take for the closing handshake; a stuck one must not delay our shutdown. */
const CLOSE_TIMEOUT_MS = 2000;

export type SignalConnectionEvents = { request: SignalRequestMessage; closed: { cause: string } };

/** One client's WebSocket: frames in, frames out, and the limits that keep it from hurting the others. */
export class SignalConnection {
  readonly events: SafeEmitter<SignalConnectionEvents>;
  readonly #socket: WebSocket;
  readonly #logger: Logger;
  readonly #limits: SignalConnectionLimits;
  readonly #heartbeat: NodeJS.Timeout;
  #encoding: 'protobuf' | 'json' = 'protobuf';
  #tokens: number;
  #refilledAtMs = performance.now();
  #heardAtMs = performance.now();
  #closed = false;

  constructor(socket: WebSocket, logger: Logger, limits: SignalConnectionLimits = SIGNAL_CONNECTION_LIMITS) {
    this.#socket = socket;
    this.#logger = logger;
    this.#limits = limits;
    this.#tokens = limits.requestBurst;
    this.events = new SafeEmitter(logger);
    socket.on('message', (data, isBinary) => {
      this.#receive(data, isBinary);
    });
    socket.on('pong', () => {
      this.#heardAtMs = performance.now();
    });
    socket.on('error', (error) => {
      logger.debug({ err: error }, 'signal socket error');
    });
    socket.on('close', (code) => {
      this.#finish(`socket closed (${code})`);
    });
    this.#heartbeat = setInterval(() => {
      this.#beat();
    }, limits.idleTimeoutMs / 3).unref();
  }

  get isOpen(): boolean {
    return !this.#closed && this.#socket.readyState === this.#socket.OPEN;
  }

  send(message: SignalMessage): void {
    if (!this.isOpen) {
      return;
    }
    if (this.#socket.bufferedAmount > this.#limits.maxBufferedBytes) {
      this.terminate('client does not read');
      return;
    }
    this.#socket.send(encodeSignalResponse(message, this.#encoding));
  }

  /** Tells the client to go (and whether to come back), then closes. */
  leave(reason: DisconnectReason, action: LeaveAction): void {
    this.send({ case: 'leave', value: new LeaveRequest({ reason, ...LEAVE_ACTION[action] }) });
    this.close(`leave (${action})`);
  }

  close(cause: string): void {
    if (!this.#closed) {
      this.#socket.close(1000);
      const socket = this.#socket;
      setTimeout(() => {
        socket.terminate();
      }, CLOSE_TIMEOUT_MS).unref();
      this.#finish(cause);
    }
  }

  /** For peers that break a limit or stopped answering: no closing handshake. */
  terminate(cause: string): void {
    if (!this.#closed) {
      this.#logger.warn({ cause }, 'signal connection terminated');
      this.#socket.terminate();
      this.#finish(cause);
    }
  }

  #receive(data: RawData, isBinary: boolean): void {
    this.#heardAtMs = performance.now();
    if (this.#closed) {
      return;
    }
    if (!this.#takeToken()) {
      this.terminate(`more than ${this.#limits.requestsPerS} requests per second`);
      return;
    }
    const bytes = Array.isArray(data) ? Buffer.concat(data) : new Uint8Array(data as ArrayBuffer);
    try {
      this.#encoding = isBinary ? 'protobuf' : 'json';
      const { message } = decodeSignalRequest(bytes, this.#encoding);
      this.events.emit('request', message);
    } catch (error) {
      this.#logger.warn({ err: error, bytes: bytes.byteLength }, 'signal frame ignored');
    }
  }

  #takeToken(): boolean {
    const nowMs = performance.now();
    const refill = ((nowMs - this.#refilledAtMs) / 1000) * this.#limits.requestsPerS;
    this.#tokens = Math.min(this.#limits.requestBurst, this.#tokens + refill) - 1;
    this.#refilledAtMs = nowMs;
    return this.#tokens >= 0;
  }

  #beat(): void {
    if (performance.now() - this.#heardAtMs > this.#limits.idleTimeoutMs) {
      this.terminate('client is silent');
    } else if (this.isOpen) {
      this.#socket.ping();
    }
  }

  #finish(cause: string): void {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    clearInterval(this.#heartbeat);
    this.events.emit('closed', { cause });
    this.events.removeAll();
  }
}
