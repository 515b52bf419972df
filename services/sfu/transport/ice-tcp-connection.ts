import type { Socket } from 'node:net';
import type { Logger } from '../../base/logger.ts';
import { MAX_STUN_LENGTH } from '../../protocol/stun.ts';
import { framed, FrameReader } from '../../protocol/rtp-framing.ts';
import { messageOf } from '../../base/errors.ts';
import type { IceTcpLimits } from './ice-tcp-limits.ts';
import type { RemoteAddress } from './ice-lite.ts';

export type IceTcpEvents = {
  onPacket: (connection: IceTcpConnection, packet: Buffer) => void;
  onClosed: (connection: IceTcpConnection) => void;
};

/** One TCP connection of a client: packets behind their lengths. It is nobody's until a STUN check has proved whose it is. */
export class IceTcpConnection {
  /** Where the client is; `stream` is this connection. */
  readonly remote: RemoteAddress;
  readonly #socket: Socket;
  readonly #limits: IceTcpLimits;
  readonly #logger: Logger;
  readonly #reader = new FrameReader();
  readonly #deadline: NodeJS.Timeout;
  #isAuthenticated = false;
  #unproved = 0;

  constructor(options: { socket: Socket; limits: IceTcpLimits; logger: Logger } & IceTcpEvents) {
    const { socket, limits, logger, onPacket, onClosed } = options;
    this.#socket = socket;
    this.#limits = limits;
    this.#logger = logger;
    this.remote = { address: socket.remoteAddress ?? '', port: socket.remotePort ?? 0, stream: this };
    socket.setNoDelay(true);
    socket.on('error', (error) => this.#logger.debug({ err: error }, 'ICE TCP connection error'));
    socket.on('data', (chunk: Buffer) => this.#read(chunk, onPacket));
    socket.once('close', () => {
      clearTimeout(this.#deadline);
      onClosed(this);
    });
    socket.setTimeout(limits.idleTimeoutMs, () => this.close('idle'));
    this.#deadline = setTimeout(() => this.close('no authenticated check'), limits.authenticationTimeoutMs);
    this.#deadline.unref();
  }

  get isAuthenticated(): boolean {
    return this.#isAuthenticated;
  }

  /** A check on this connection had the password of one of our peers. */
  authenticated(): void {
    this.#isAuthenticated = true;
    clearTimeout(this.#deadline);
  }

  /** Dropped, as a router would, while the client does not read what waits already. */
  send(packet: Uint8Array): void {
    if (!this.#socket.destroyed && this.#socket.writableLength < this.#limits.maxBacklogBytes) {
      this.#socket.write(framed(packet));
    }
  }

  close(cause: string): void {
    if (!this.#socket.destroyed) {
      this.#logger.debug({ cause, remoteAddress: this.remote.address }, 'ICE TCP connection closed');
      this.#socket.destroy();
    }
  }

  #read(chunk: Buffer, onPacket: IceTcpEvents['onPacket']): void {
    try {
      this.#reader.push(
        chunk,
        () => (this.#isAuthenticated ? this.#limits.maxPacketBytes : MAX_STUN_LENGTH),
        (packet) => {
          if (this.#socket.destroyed) {
            return;
          }
          onPacket(this, packet);
          if (!this.#isAuthenticated && ++this.#unproved >= this.#limits.maxUnauthenticatedPackets) {
            this.close('too many packets without an authenticated check');
          }
        },
      );
    } catch (error) {
      this.close(messageOf(error));
    }
  }
}
