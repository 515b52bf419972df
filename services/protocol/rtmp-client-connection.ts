import type { Socket } from 'node:net';
import { messageOf, ServiceError } from '../base/errors.ts';
import { decodeAmf0, encodeAmf0, type AmfValue } from './amf0.ts';
import { ChunkReader, ChunkWriter, type ChunkLimits } from './rtmp-chunk.ts';
import { ClientHandshake } from './rtmp-client-handshake.ts';
import {
  RTMP_MESSAGE,
  splitAggregate,
  uint32Message,
  USER_CONTROL,
  userControlMessage,
  type RtmpMessage,
} from './rtmp-message.ts';

/** A platform sends answers and control messages only. */
const ANSWER_LIMITS: ChunkLimits = {
  maxMessageBytes: 65_536,
  maxBufferedBytes: 262_144,
  maxChunkStreams: 64,
  maxTrustedBytes: 0,
};
const DEFAULT_WINDOW_BYTES = 2_500_000;
const COMMAND_CHUNK_STREAM = 3;
const CONTROL_CHUNK_STREAM = 2;

export type RtmpCommand = { name: string; transaction: number; args: AmfValue[] };

export type RtmpClientEvents = {
  onHandshake: () => void;
  onCommand: (command: RtmpCommand) => void;
  /** Audio, video and data messages, of whoever plays. */
  onMedia?: (message: RtmpMessage) => void;
  /** What is played has ended (section 7.1.7). */
  onStreamEof?: () => void;
  /** Once, when nothing can be sent any more. */
  onClosed: (error: ServiceError) => void;
};

/** The client side of one RTMP connection: handshake, chunks, acknowledgements and pings. Commands go both ways. */
export class RtmpClientConnection {
  readonly #socket: Socket;
  readonly #host: string;
  readonly #events: RtmpClientEvents;
  readonly #handshake = new ClientHandshake();
  readonly #reader: ChunkReader;
  readonly #writer = new ChunkWriter();
  #isOpen = false;
  #isClosed = false;
  #windowBytes = DEFAULT_WINDOW_BYTES;
  #receivedBytes = 0;
  #acknowledgedBytes = 0;

  /** @param host for errors @param limits of what the server may send */
  constructor(socket: Socket, host: string, events: RtmpClientEvents, limits: ChunkLimits = ANSWER_LIMITS) {
    this.#reader = new ChunkReader(limits);
    this.#socket = socket;
    this.#host = host;
    this.#events = events;
    socket.on('data', (data) => {
      this.#receive(data);
    });
    socket.once('close', () => {
      this.close(this.#error('closed the connection'));
    });
    socket.on('error', (error) => {
      this.close(this.#error(`connection lost: ${messageOf(error)}`));
    });
    socket.write(this.#handshake.hello());
  }

  command(messageStreamId: number, name: string, transaction: number, ...args: AmfValue[]): void {
    const payload = encodeAmf0([name, transaction, ...args]);
    this.#send({ typeId: RTMP_MESSAGE.commandAmf0, messageStreamId, timestampMs: 0, payload });
  }

  /** Chunks of everything sent afterwards. */
  setChunkBytes(chunkBytes: number): void {
    this.#send(uint32Message(RTMP_MESSAGE.setChunkSize, chunkBytes));
    this.#writer.setChunkBytes(chunkBytes);
  }

  /** Ready-made chunks. */
  write(chunks: Buffer, onTaken: () => void): void {
    this.#socket.write(chunks, () => onTaken());
  }

  /** Sends what is written and hangs up. */
  async end(timeoutMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#socket.end(() => {
        clearTimeout(timer);
        resolve();
      });
      this.#socket.once('close', () => resolve());
    });
    this.close(new ServiceError('canceled', 'the stream has ended'));
  }

  close(error: ServiceError): void {
    if (!this.#isClosed) {
      this.#isClosed = true;
      this.#socket.destroy();
      this.#events.onClosed(error);
    }
  }

  #send(message: RtmpMessage): void {
    const chunkStreamId =
      message.typeId === RTMP_MESSAGE.commandAmf0 ? COMMAND_CHUNK_STREAM : CONTROL_CHUNK_STREAM;
    this.#socket.write(this.#writer.write(chunkStreamId, message));
  }

  #receive(data: Buffer): void {
    if (this.#isClosed) {
      return;
    }
    try {
      this.#acknowledge(data.length);
      if (this.#isOpen) {
        this.#read(data);
        return;
      }
      const step = this.#handshake.push(data);
      if (step.reply.length > 0) {
        this.#socket.write(step.reply);
      }
      if (step.done) {
        this.#isOpen = true;
        this.#events.onHandshake();
        this.#read(step.rest);
      }
    } catch (error) {
      this.close(this.#error(`does not speak RTMP (${messageOf(error)})`));
    }
  }

  #read(data: Buffer): void {
    this.#reader.push(data, (message) => {
      this.#onMessage(message);
    });
  }

  #onMessage(message: RtmpMessage): void {
    const { typeId, payload } = message;
    switch (typeId) {
      case RTMP_MESSAGE.audio:
      case RTMP_MESSAGE.video:
      case RTMP_MESSAGE.dataAmf0:
        this.#events.onMedia?.(message);
        break;
      case RTMP_MESSAGE.aggregate:
        for (const part of splitAggregate(message)) {
          this.#events.onMedia?.(part);
        }
        break;
      case RTMP_MESSAGE.commandAmf0:
        this.#onCommand(decodeAmf0(payload));
        break;
      case RTMP_MESSAGE.windowAcknowledgementSize:
        this.#windowBytes = Math.max(1, payload.length < 4 ? DEFAULT_WINDOW_BYTES : payload.readUInt32BE());
        break;
      case RTMP_MESSAGE.setPeerBandwidth:
        // Section 5.4.5: answered with our window when it differs from the last one told.
        if (payload.length >= 4) {
          this.#send(uint32Message(RTMP_MESSAGE.windowAcknowledgementSize, payload.readUInt32BE()));
        }
        break;
      case RTMP_MESSAGE.userControl:
        if (payload.length >= 6 && payload.readUInt16BE() === USER_CONTROL.pingRequest) {
          this.#send(userControlMessage(USER_CONTROL.pingResponse, payload.readUInt32BE(2)));
        } else if (payload.length >= 2 && payload.readUInt16BE() === USER_CONTROL.streamEof) {
          this.#events.onStreamEof?.();
        }
        break;
      default:
      // Acknowledgements of ours and whatever else a platform tells: nothing follows from it.
    }
  }

  #onCommand([name, transaction, ...args]: AmfValue[]): void {
    if (typeof name === 'string') {
      this.#events.onCommand({ name, transaction: typeof transaction === 'number' ? transaction : 0, args });
    }
  }

  #acknowledge(bytes: number): void {
    this.#receivedBytes += bytes;
    if (this.#isOpen && this.#receivedBytes - this.#acknowledgedBytes >= this.#windowBytes / 2) {
      this.#acknowledgedBytes = this.#receivedBytes;
      this.#send(uint32Message(RTMP_MESSAGE.acknowledgement, this.#receivedBytes >>> 0));
    }
  }

  #error(text: string): ServiceError {
    return new ServiceError('unavailable', `${this.#host} ${text}`, { blame: 'destination' });
  }
}
