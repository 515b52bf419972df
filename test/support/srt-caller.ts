import { createSocket, type Socket } from 'node:dgram';

/** Hand-made SRT handshakes (draft-sharabayko-srt-01 section 3.2.1), written apart from the ones that read them. */
export type Conclusion = {
  cookie: number;
  streamId?: string;
  version?: number;
  /** Type and content of further extensions. */
  extensions?: [number, Buffer][];
};

export const CALLER_ID = 0x1234_5678;

export function induction(socketId = CALLER_ID): Buffer {
  return handshake({ version: 4, field: 2, type: 1, socketId, cookie: 0 });
}

export function conclusion(
  { cookie, streamId, version = 5, extensions = [] }: Conclusion,
  socketId = CALLER_ID,
): Buffer {
  const all: [number, Buffer][] = [
    [1, Buffer.from('000105010000003f00780078', 'hex')],
    ...(streamId === undefined ? [] : [[5, words(streamId)] as [number, Buffer]]),
    ...extensions,
  ];
  return Buffer.concat([
    handshake({ version, field: 5, type: 0xffff_ffff, socketId, cookie }),
    ...all.map(([type, content]) => {
      const header = Buffer.alloc(4);
      header.writeUInt16BE(type, 0);
      header.writeUInt16BE(content.length / 4, 2);
      return Buffer.concat([header, content]);
    }),
  ]);
}

/** Text in words of four characters, each backwards. */
export function words(text: string): Buffer {
  const bytes = Buffer.from(text);
  const padded = Buffer.alloc(Math.ceil(bytes.length / 4) * 4);
  bytes.copy(padded);
  return padded.swap32();
}

function handshake(fields: {
  version: number;
  field: number;
  type: number;
  socketId: number;
  cookie: number;
}): Buffer {
  const datagram = Buffer.alloc(64);
  datagram.writeUInt32BE(0x8000_0000, 0);
  datagram.writeUInt32BE(fields.version, 16);
  datagram.writeUInt16BE(fields.field, 22);
  datagram.writeUInt32BE(7, 24);
  datagram.writeUInt32BE(1500, 28);
  datagram.writeUInt32BE(8192, 32);
  datagram.writeUInt32BE(fields.type, 36);
  datagram.writeUInt32BE(fields.socketId, 40);
  datagram.writeUInt32BE(fields.cookie, 44);
  return datagram;
}

/** A UDP socket that talks to one port and keeps every answer. */
export class SrtCaller {
  readonly answers: Buffer[] = [];
  readonly #socket: Socket = createSocket('udp4');
  readonly #port: number;
  readonly #waiting = new Set<() => void>();

  constructor(port: number) {
    this.#port = port;
    this.#socket.on('message', (datagram) => {
      this.answers.push(datagram);
      this.#waiting.forEach((wake) => wake());
    });
  }

  send(datagram: Buffer): void {
    this.#socket.send(datagram, this.#port, '127.0.0.1');
  }

  /** The next answer to this. */
  async ask(datagram: Buffer): Promise<Buffer> {
    const seen = this.answers.length;
    this.send(datagram);
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        if (this.answers.length > seen) {
          this.#waiting.delete(wake);
          resolve();
        }
      };
      this.#waiting.add(wake);
    });
    return this.answers[seen] ?? Buffer.alloc(0);
  }

  /** Shows that it receives here. @returns the cookie it was given. */
  async introduce(socketId = CALLER_ID): Promise<number> {
    return (await this.ask(induction(socketId))).readUInt32BE(44);
  }

  /** @returns the handshake type of the answer: 1000 and more are refusals. */
  async connect(
    options: Omit<Conclusion, 'cookie'> & { cookie?: number },
    socketId = CALLER_ID,
  ): Promise<number> {
    const cookie = options.cookie ?? (await this.introduce(socketId));
    return (await this.ask(conclusion({ ...options, cookie }, socketId))).readUInt32BE(36);
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => this.#socket.close(() => resolve()));
  }
}
