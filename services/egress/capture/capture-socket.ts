import { timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocketServer, type WebSocket } from 'ws';
import { SafeEmitter } from '../../base/events.ts';
import { randomString } from '../../base/ids.ts';
import type { Logger } from '../../base/logger.ts';
import { readChunk, type CapturedChunk } from './packet-framing.ts';
import { readRecorderEvent, type RecorderCommand, type RecorderEvent } from './recorder-protocol.ts';

const SECRET_LENGTH = 32;
/** A 4K key frame at a generous bitrate is far below this. */
const MAX_MESSAGE_BYTES = 16_000_000;
const PATH_PREFIX = '/capture/';

export type CaptureSocketEvents = {
  connected: undefined;
  chunk: CapturedChunk;
  event: RecorderEvent;
  disconnected: undefined;
};

/**
 * The loopback end of the recorder's WebSocket. Only the holder of this job's secret gets in, once: the page that
 * is being recorded runs in the same browser and must not be able to feed the recording.
 */
export class CaptureSocket {
  readonly events: SafeEmitter<CaptureSocketEvents>;
  /** Path with the secret; hand it to the recorder page and nowhere else. */
  readonly path: string;
  readonly #server: WebSocketServer;
  readonly #logger: Logger;
  #socket: WebSocket | undefined;
  #malformed = 0;

  constructor(logger: Logger) {
    this.#logger = logger;
    this.events = new SafeEmitter(logger);
    this.path = PATH_PREFIX + randomString(SECRET_LENGTH);
    this.#server = new WebSocketServer({
      noServer: true,
      perMessageDeflate: false,
      maxPayload: MAX_MESSAGE_BYTES,
    });
  }

  /** For the HTTP server's upgrade event; false when the request is not for this socket. */
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): boolean {
    const target = Buffer.from(request.url ?? '');
    const expected = Buffer.from(this.path);
    if (target.length !== expected.length || !timingSafeEqual(target, expected)) {
      return false;
    }
    if (this.#socket !== undefined) {
      return false;
    }
    this.#server.handleUpgrade(request, socket, head, (webSocket) => {
      this.#attach(webSocket);
    });
    return true;
  }

  send(command: RecorderCommand): void {
    if (this.#socket?.readyState === this.#socket?.OPEN) {
      this.#socket?.send(JSON.stringify(command));
    }
  }

  close(): void {
    this.#socket?.terminate();
    this.#server.close();
  }

  #attach(webSocket: WebSocket): void {
    this.#socket = webSocket;
    webSocket.binaryType = 'nodebuffer';
    webSocket.on('message', (data: Buffer, isBinary: boolean) => {
      this.#receive(data, isBinary);
    });
    webSocket.on('error', (error) => {
      this.#logger.warn({ err: error }, 'capture socket failed');
    });
    webSocket.on('close', () => {
      this.events.emit('disconnected', undefined);
    });
    this.events.emit('connected', undefined);
  }

  #receive(data: Buffer, isBinary: boolean): void {
    if (isBinary) {
      const chunk = readChunk(data);
      if (chunk === undefined) {
        this.#countMalformed();
      } else {
        this.events.emit('chunk', chunk);
      }
      return;
    }
    const event = readRecorderEvent(data.toString('utf8'));
    if (event === undefined) {
      this.#countMalformed();
    } else {
      this.events.emit('event', event);
    }
  }

  #countMalformed(): void {
    this.#malformed += 1;
    if (this.#malformed === 1) {
      this.#logger.warn('malformed message from the recorder');
    }
  }
}
