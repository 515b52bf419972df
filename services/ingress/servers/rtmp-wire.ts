import type { Socket } from 'node:net';
import { ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { StreamReading, TAKE_BYTES } from '../../base/stream-reading.ts';
import { ChunkReader, ChunkWriter } from '../../protocol/rtmp-chunk.ts';
import { ServerHandshake } from '../../protocol/rtmp-handshake.ts';
import {
  peerBandwidthMessage,
  RTMP_MESSAGE,
  uint32Message,
  type RtmpMessage,
} from '../../protocol/rtmp-message.ts';
import type { RtmpLimits } from './rtmp-limits.ts';

export type RtmpWireHandlers = {
  onHandshaken: () => void;
  onMessage: (message: RtmpMessage) => void;
  /** The peer broke the protocol or a limit. */
  onViolation: (error: ServiceError) => void;
  onDisconnected: () => void;
};

const PROTOCOL_CHUNK_STREAM = 2;
const COMMAND_CHUNK_STREAM = 3;
const WINDOW_BYTES = 2_500_000;
const OUT_CHUNK_BYTES = 4_096;
const MIN_ACK_WINDOW_BYTES = 64_000;
const LINGER_MS = 1_000;
const RATE_WINDOW_MS = 1_000;
/**
 * An encoder's messages come in many small segments, and each would wake the process. Between two reads the kernel
 * collects them for two pictures and as much AAC as is worth a write to the ffmpeg that makes Opus of it: what comes
 * together then goes on together.
 */
const REST_MS = 60;
/** Reads that are cut off: there is more in the kernel, and it is read without a rest. The first is libuv's. */
const FULL_READS: ReadonlySet<number> = new Set([65_536, TAKE_BYTES]);

/** What one chunk costs in work, as bytes of a long one: tiny chunks use up the byte rate as fast as they keep us busy. */
const CHUNK_COST_BYTES = 64;

type PauseReason = 'held' | 'too fast' | 'resting';

/** Socket, handshake, chunks and acknowledgements of one RTMP peer; knows nothing of commands. */
export class RtmpWire {
  readonly #socket: Socket;
  readonly #limits: RtmpLimits;
  readonly #handlers: RtmpWireHandlers;
  readonly #reader: ChunkReader;
  readonly #writer = new ChunkWriter();
  readonly #reading: StreamReading;
  readonly #pauses = new Set<PauseReason>();
  #handshake: ServerHandshake | undefined = new ServerHandshake();
  #receivedBytes = 0;
  #ackedBytes = 0;
  #ackWindowBytes = WINDOW_BYTES;
  #rate = { windowStartMs: 0, bytes: 0 };
  #rests = false;
  #restTimer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(socket: Socket, limits: RtmpLimits, logger: Logger, handlers: RtmpWireHandlers) {
    this.#socket = socket;
    this.#limits = limits;
    this.#handlers = handlers;
    this.#reader = new ChunkReader(limits.beforePublish);
    this.#reading = new StreamReading(socket);
    socket.setNoDelay(true);
    socket.on('data', (data: Buffer) => {
      this.guard(() => {
        this.#receive(data);
      });
    });
    socket.on('error', (error) => {
      logger.debug({ err: error }, 'rtmp socket failed');
    });
    for (const event of ['end', 'close'] as const) {
      socket.on(event, () => {
        handlers.onDisconnected();
      });
    }
  }

  /** Runs work on the peer's input; whatever it throws is the peer's violation. */
  guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#handlers.onViolation(ServiceError.from(error, 'malformed'));
    }
  }

  /** The peer has shown a valid key: it may send media-sized messages now. */
  trust(): void {
    this.#reader.limits = this.#limits.publishing;
    this.#rests = true;
  }

  /** Stops and restarts reading; TCP slows the peer down meanwhile. */
  hold(held: boolean): void {
    if (held) {
      this.#pause('held');
    } else {
      this.#resume('held');
    }
  }

  setAckWindow(bytes: number): void {
    this.#ackWindowBytes = Math.max(bytes, MIN_ACK_WINDOW_BYTES);
  }

  /** Our windows, and larger chunks for our answers: what comes before the answer to `connect`. */
  announce(): void {
    this.send(uint32Message(RTMP_MESSAGE.windowAcknowledgementSize, WINDOW_BYTES));
    this.send(peerBandwidthMessage(WINDOW_BYTES));
    this.send(uint32Message(RTMP_MESSAGE.setChunkSize, OUT_CHUNK_BYTES));
    this.#writer.setChunkBytes(OUT_CHUNK_BYTES);
  }

  /** @throws ServiceError resource_exhausted when the peer does not read. */
  send(message: RtmpMessage): void {
    if (this.#closed || this.#handshake !== undefined || !this.#socket.writable) {
      return;
    }
    if (this.#socket.writableLength > this.#limits.maxUnsentBytes) {
      throw new ServiceError('resource_exhausted', 'RTMP: the peer does not read our answers');
    }
    const isCommand = message.typeId === RTMP_MESSAGE.commandAmf0;
    this.#socket.write(this.#writer.write(isCommand ? COMMAND_CHUNK_STREAM : PROTOCOL_CHUNK_STREAM, message));
  }

  /** Sends what is queued, then hangs up, at the latest after a second. */
  close(): void {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    const socket = this.#socket;
    const linger = setTimeout(() => socket.destroy(), LINGER_MS);
    const stop = (): void => {
      clearTimeout(linger);
    };
    if (socket.destroyed) {
      stop();
    }
    socket.once('close', stop);
    this.#rests = false;
    clearTimeout(this.#restTimer);
    this.#reading.start();
    socket.end();
  }

  #receive(data: Buffer): void {
    if (this.#closed) {
      return;
    }
    this.#receivedBytes += data.length;
    let chunks = data;
    if (this.#handshake !== undefined) {
      const step = this.#handshake.push(data);
      if (step.reply.length > 0) {
        this.#socket.write(step.reply);
      }
      if (!step.done) {
        return;
      }
      chunks = step.rest;
      this.#handshake = undefined;
      this.#handlers.onHandshaken();
    }
    const chunksBefore = this.#reader.chunkCount;
    this.#reader.push(chunks, (message) => {
      if (!this.#closed) {
        this.#handlers.onMessage(message);
      }
    });
    this.#slowDown(data.length + (this.#reader.chunkCount - chunksBefore) * CHUNK_COST_BYTES);
    this.#acknowledge();
    if (this.#rests && !FULL_READS.has(data.length)) {
      this.#rest();
    } else if (this.#pauses.size === 0) {
      this.#reading.start();
    }
  }

  #rest(): void {
    this.#pause('resting');
    if (this.#restTimer === undefined) {
      this.#restTimer = setTimeout(() => {
        this.#endRest();
      }, REST_MS);
    } else {
      this.#restTimer.refresh();
    }
  }

  /** Takes what has come meanwhile; when there is nothing, the next byte wakes us. */
  #endRest(): void {
    const data = this.#pauses.size === 1 ? this.#reading.take() : undefined;
    if (data === undefined) {
      this.#resume('resting');
      return;
    }
    this.#pauses.delete('resting');
    this.guard(() => {
      this.#receive(data);
    });
  }

  #pause(reason: PauseReason): void {
    this.#pauses.add(reason);
    this.#reading.stop();
  }

  #resume(reason: PauseReason): void {
    this.#pauses.delete(reason);
    if (this.#pauses.size === 0) {
      this.#reading.start();
    }
  }

  /** Section 5.4.3; twice as often as asked, as encoders stop sending when one is late. */
  #acknowledge(): void {
    if (this.#receivedBytes - this.#ackedBytes >= this.#ackWindowBytes / 2) {
      this.#ackedBytes = this.#receivedBytes;
      this.send(uint32Message(RTMP_MESSAGE.acknowledgement, this.#receivedBytes % 2 ** 32));
    }
  }

  #slowDown(bytes: number): void {
    if (this.#closed) {
      return;
    }
    const nowMs = performance.now();
    if (nowMs - this.#rate.windowStartMs >= RATE_WINDOW_MS) {
      this.#rate = { windowStartMs: nowMs, bytes: 0 };
    }
    this.#rate.bytes += bytes;
    if (this.#rate.bytes > this.#limits.maxBytesPerS && !this.#pauses.has('too fast')) {
      this.#pause('too fast');
      setTimeout(
        () => {
          this.#resume('too fast');
        },
        this.#rate.windowStartMs + RATE_WINDOW_MS - nowMs,
      );
    }
  }
}
