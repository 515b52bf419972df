import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import { buildStunBinding, parseStunBinding } from '../../../services/protocol/stun.ts';

export type Credentials = { ufrag: string; pwd: string };

/** Sends connectivity checks from a socket of its own, as the controlling side. */
export class StunClient {
  lastMappedAddress: { address: string; port: number } | undefined;
  readonly #socket: Socket;
  readonly #serverPort: number;
  readonly #address: string;

  private constructor(socket: Socket, serverPort: number, address: string) {
    this.#address = address;
    this.#socket = socket;
    this.#serverPort = serverPort;
  }

  static async open(serverPort: number, address = '127.0.0.1'): Promise<StunClient> {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    socket.bind(0, address);
    await once(socket, 'listening');
    return new StunClient(socket, serverPort, address);
  }

  get port(): number {
    return this.#socket.address().port;
  }

  sendRaw(datagram: Buffer): void {
    this.#socket.send(datagram, this.#serverPort, this.#address);
  }

  /** Resolves when the check is answered; use firstAnswered() for checks that must not be. */
  async check(credentials: Credentials): Promise<boolean> {
    return (await this.firstAnswered(credentials)) === credentials;
  }

  /** Sends one check after the other and tells which was answered first: datagrams on loopback stay in order. */
  async firstAnswered(...candidates: Credentials[]): Promise<Credentials | undefined> {
    const ids = candidates.map(() => randomBytes(12));
    const answer = once(this.#socket, 'message') as Promise<[Buffer]>;
    candidates.forEach((credentials, index) => {
      this.sendRaw(
        buildStunBinding({
          class: 'request',
          transactionId: ids[index] ?? Buffer.alloc(12),
          username: `${credentials.ufrag}:them`,
          password: credentials.pwd,
          priority: 1,
          iceControlling: Buffer.alloc(8, 1),
          useCandidate: true,
        }),
      );
    });
    const [datagram] = await answer;
    const response = parseStunBinding(datagram);
    this.lastMappedAddress = response?.xorMappedAddress;
    return candidates[ids.findIndex((id) => response?.transactionId.equals(id) ?? false)];
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#socket.close(() => resolve());
    });
  }
}
