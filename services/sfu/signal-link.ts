import type { DisconnectReason } from '@livekit/protocol';
import type { Logger } from '../base/logger.ts';
import type { LeaveAction, SignalMessage, SignalRequestMessage } from '../protocol/signal.ts';
import type { SignalConnection } from './signal-connection.ts';

/** How long a participant is kept while its signalling is away. */
export const RESUME_WINDOW_MS = 20_000;

/** A participant's signalling across reconnects: one connection at a time, requests strictly in order. */
export class SignalLink {
  readonly #logger: Logger;
  readonly #handle: (request: SignalRequestMessage) => Promise<void> | undefined;
  readonly #onExpired: () => void;
  #connection: SignalConnection | undefined;
  #requests: Promise<void> = Promise.resolve();
  #resumeTimer: NodeJS.Timeout | undefined;
  #ended = false;

  constructor(options: {
    logger: Logger;
    handle: (request: SignalRequestMessage) => Promise<void> | undefined;
    /** Nobody came back within the resume window. */
    onExpired: () => void;
  }) {
    this.#logger = options.logger;
    this.#handle = options.handle;
    this.#onExpired = options.onExpired;
  }

  connect(connection: SignalConnection): void {
    clearTimeout(this.#resumeTimer);
    const before = this.#connection;
    this.#connection = connection;
    before?.close('replaced by a newer connection');
    connection.events.on('request', (request) => {
      this.enqueue(request);
    });
    connection.events.on('closed', ({ cause }) => {
      if (this.#connection === connection && !this.#ended) {
        this.#connection = undefined;
        this.#logger.info({ cause }, 'signalling lost');
        this.#resumeTimer = setTimeout(this.#onExpired, RESUME_WINDOW_MS).unref();
      }
    });
  }

  send(message: SignalMessage): void {
    this.#connection?.send(message);
  }

  enqueue(request: SignalRequestMessage): void {
    this.#requests = this.#requests
      .then(() => this.#handle(request))
      .catch((error: unknown) => {
        this.#logger.error({ err: error, request: request.case }, 'signal request failed');
      });
  }

  /** With an action the client is told to leave; without, it is the one who left. */
  end(reason: DisconnectReason, action: LeaveAction | undefined): void {
    this.#ended = true;
    clearTimeout(this.#resumeTimer);
    if (action === undefined) {
      this.#connection?.close('participant left');
    } else {
      this.#connection?.leave(reason, action);
    }
    this.#connection = undefined;
  }
}
