import { connect, type Socket } from 'node:net';
import { amfObject, decodeAmf0, encodeAmf0, type AmfValue } from '../../services/protocol/amf0.ts';
import { ChunkReader, ChunkWriter } from '../../services/protocol/rtmp-chunk.ts';
import { RTMP_MESSAGE, uint32Message, type RtmpMessage } from '../../services/protocol/rtmp-message.ts';

const HANDSHAKE_BYTES = 1 + 2 * 1536;
const UNLIMITED = { maxMessageBytes: 1e9, maxBufferedBytes: 1e9, maxChunkStreams: 1e6, maxTrustedBytes: 0 };

/** An RTMP peer that can misbehave: every byte is in the test's hands. */
export class RtmpClient {
  readonly socket: Socket;
  readonly messages: RtmpMessage[] = [];
  /** Resolves when the server hung up. */
  readonly closed: Promise<void>;
  readonly #reader = new ChunkReader(UNLIMITED);
  readonly #writer = new ChunkWriter();
  readonly #changed = new Set<() => void>();
  #handshake = Buffer.alloc(0);
  #transaction = 0;

  /** @param to a port of this machine, or a socket that is connecting. */
  constructor(to: number | Socket) {
    this.socket = typeof to === 'number' ? connect(to, '127.0.0.1') : to;
    this.socket.on('error', () => undefined);
    this.closed = new Promise((resolve) => {
      this.socket.once('close', () => {
        resolve();
        this.#notify();
      });
    });
    this.socket.on('data', (data) => {
      this.#receive(data);
    });
  }

  /** C0, C1 and C2 at once. */
  handshake(): this {
    this.socket.write(Buffer.concat([Buffer.from([3]), Buffer.alloc(2 * 1536, 7)]));
    return this;
  }

  raw(bytes: Uint8Array): this {
    this.socket.write(bytes);
    return this;
  }

  send(message: Partial<RtmpMessage> & { typeId: number; payload: Buffer }, chunkStreamId = 4): this {
    return this.raw(this.#writer.write(chunkStreamId, { messageStreamId: 1, timestampMs: 0, ...message }));
  }

  /** Announces it, then uses it. */
  setChunkBytes(chunkBytes: number): this {
    this.send(uint32Message(RTMP_MESSAGE.setChunkSize, chunkBytes), 2);
    this.#writer.setChunkBytes(chunkBytes);
    return this;
  }

  command(name: string, ...args: AmfValue[]): this {
    this.#transaction++;
    const payload = encodeAmf0([name, this.#transaction, ...args]);
    return this.send({ typeId: RTMP_MESSAGE.commandAmf0, payload, messageStreamId: 0 }, 3);
  }

  connectApp(): this {
    return this.command('connect', amfObject({ app: 'live', tcUrl: 'rtmp://127.0.0.1/live' }));
  }

  /** The whole way to a publish answer; nothing is waited for in between. */
  publish(name: string): this {
    return this.handshake().connectApp().command('createStream', null).command('publish', null, name, 'live');
  }

  video(timestampMs: number, body: Buffer): this {
    return this.send({ typeId: RTMP_MESSAGE.video, timestampMs, payload: body }, 6);
  }

  /** Codes of the onStatus messages so far. */
  statuses(): { code: AmfValue; level: AmfValue; description: AmfValue }[] {
    return this.commands('onStatus').map(([, , , info]) => {
      const get = (key: string): AmfValue => (info instanceof Map ? (info.get(key) as AmfValue) : undefined);
      return { code: get('code'), level: get('level'), description: get('description') };
    });
  }

  commands(name: string): AmfValue[][] {
    return this.messages
      .filter(({ typeId }) => typeId === RTMP_MESSAGE.commandAmf0)
      .map(({ payload }) => decodeAmf0(payload))
      .filter(([first]) => first === name);
  }

  /** Resolves as soon as `condition` holds; it is looked at after every message and at the end. */
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const check = (): void => {
        if (condition()) {
          this.#changed.delete(check);
          resolve();
        }
      };
      this.#changed.add(check);
      check();
    });
  }

  async status(): Promise<ReturnType<RtmpClient['statuses']>[number]> {
    await this.until(() => this.statuses().length > 0);
    return this.statuses()[0] ?? { code: undefined, level: undefined, description: undefined };
  }

  close(): void {
    this.socket.destroy();
  }

  #receive(data: Buffer): void {
    let rest = data;
    if (this.#handshake.length < HANDSHAKE_BYTES) {
      const needed = HANDSHAKE_BYTES - this.#handshake.length;
      this.#handshake = Buffer.concat([this.#handshake, data.subarray(0, needed)]);
      rest = data.subarray(needed);
    }
    this.#reader.push(rest, (message) => {
      this.messages.push(message);
    });
    this.#notify();
  }

  #notify(): void {
    for (const check of [...this.#changed]) {
      check();
    }
  }
}
