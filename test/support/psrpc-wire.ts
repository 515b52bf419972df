import { once } from 'node:events';
import { Redis } from 'ioredis';

/**
 * The other end of the bus as LiveKit's Go programs are: raw PUBLISH and SUBSCRIBE, with protobuf written and
 * read here byte by byte, so that a mistake in our descriptions cannot cancel itself out.
 */
export class PsrpcPeer {
  readonly #publisher: Redis;
  readonly #subscriber: Redis;
  readonly #received = new Map<string, WireMessage[]>();

  constructor(port: number) {
    this.#publisher = new Redis(port);
    this.#subscriber = new Redis(port);
    this.#subscriber.on('messageBuffer', (channel: Buffer, payload: Buffer) => {
      const msg = readMessage(payload);
      const type = text(msg, 1).replace('type.googleapis.com/internal.', '');
      this.#received
        .get(channel.toString())
        ?.push(new Map([...readMessage(bytes(msg, 2)), [0, [Buffer.from(type)]]]));
      this.#subscriber.emit('arrived');
    });
  }

  async subscribe(...channels: string[]): Promise<void> {
    channels.forEach((channel) => this.#received.set(channel, []));
    await this.#subscriber.subscribe(...channels);
  }

  /** The next message of a channel, in order; `kind` is psrpc's name for it. */
  async next(channel: string): Promise<{ kind: string; fields: WireMessage }> {
    for (;;) {
      const fields = this.#received.get(channel)?.shift();
      if (fields !== undefined) {
        return { kind: text(fields, 0), fields };
      }
      await once(this.#subscriber, 'arrived', { signal: AbortSignal.timeout(10_000) });
    }
  }

  count(channel: string): number {
    return this.#received.get(channel)?.length ?? 0;
  }

  async send(channel: string, kind: string, ...fields: Buffer[]): Promise<number> {
    const value = Buffer.concat(fields);
    return this.#publisher.publish(
      channel,
      Buffer.concat([bytesField(1, `type.googleapis.com/internal.${kind}`), bytesField(2, value)]),
    );
  }

  async sendRaw(channel: string, payload: Buffer): Promise<void> {
    await this.#publisher.publish(channel, payload);
  }

  close(): void {
    this.#publisher.disconnect();
    this.#subscriber.disconnect();
  }
}

/** Field number → its values: bytes, or a number of any wire type. */
export type WireMessage = Map<number, (Buffer | bigint)[]>;

export function bytesField(no: number, value: string | Uint8Array): Buffer {
  const content = Buffer.from(value as Uint8Array);
  return Buffer.concat([varint(BigInt((no << 3) | 2)), varint(BigInt(content.length)), content]);
}

export function intField(no: number, value: bigint): Buffer {
  return Buffer.concat([varint(BigInt(no << 3)), varint(BigInt.asUintN(64, value))]);
}

export function floatField(no: number, value: number): Buffer {
  const content = Buffer.alloc(4);
  content.writeFloatLE(value);
  return Buffer.concat([varint(BigInt((no << 3) | 5)), content]);
}

export function text(message: WireMessage, no: number): string {
  return bytes(message, no).toString();
}

export function bytes(message: WireMessage, no: number): Buffer {
  const value = message.get(no)?.[0];
  return typeof value === 'object' ? value : Buffer.alloc(0);
}

export function int(message: WireMessage, no: number): bigint {
  const value = message.get(no)?.[0];
  return typeof value === 'bigint' ? value : 0n;
}

export function float(message: WireMessage, no: number): number {
  const content = Buffer.alloc(4);
  content.writeUInt32LE(Number(int(message, no)));
  return content.readFloatLE();
}

export function readMessage(buffer: Buffer): WireMessage {
  const message: WireMessage = new Map();
  let offset = 0;
  const readVarint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = buffer.readUInt8(offset++);
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) {
        return value;
      }
    }
  };
  while (offset < buffer.length) {
    const tag = Number(readVarint());
    let value: Buffer | bigint;
    if ((tag & 7) === 2) {
      const length = Number(readVarint());
      value = buffer.subarray(offset, offset + length);
      offset += length;
    } else if ((tag & 7) === 5) {
      value = BigInt(buffer.readUInt32LE(offset));
      offset += 4;
    } else {
      value = readVarint();
    }
    message.set(tag >> 3, [...(message.get(tag >> 3) ?? []), value]);
  }
  return message;
}

function varint(value: bigint): Buffer {
  const out: number[] = [];
  let rest = value;
  do {
    out.push(Number(rest & 0x7fn) | (rest > 0x7fn ? 0x80 : 0));
    rest >>= 7n;
  } while (rest > 0n);
  return Buffer.from(out);
}
