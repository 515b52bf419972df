import { createSocket, type Socket } from 'node:dgram';
import { DatagramBurst } from '../../base/datagram-burst.ts';
import type { Logger } from '../../base/logger.ts';
import { looksLikeRtpOrRtcp } from '../../media/rtp/rtp-header.ts';
import type { RemoteAddress } from './ice-lite.ts';

/** Room for a burst of key frames to many peers; the kernel may grant less (net.core.rmem_max). */
export const SOCKET_BUFFER_BYTES = 4 * 1024 * 1024;
/** Datagrams waiting in libuv because the kernel's buffer is full; more are dropped, as a router would. */
const MAX_QUEUED_DATAGRAMS = 1024;
/** The queue is looked at once in this many datagrams, and always while it is full. A power of two. */
const QUEUE_CHECK_INTERVAL = 32;
const ALONE_AFTER_MS = 1_000;

export type UdpFamily = 'udp4' | 'udp6';
export type DatagramListener = (datagram: Buffer, address: string, port: number) => void;

/**
 * A second socket on the mux's port, connected to one peer: sending over it saves the kernel a route lookup and Node an
 * address conversion (about 15 % of the CPU time of a packet), and each peer has a receive buffer of its own.
 * Between bind and connect the kernel may hand it anybody's datagrams; the listener gets them with their address.
 */
export class PeerSocket {
  readonly #socket: Socket;
  #ready = false;
  #readyMs = 0;
  #sent = 0;
  #full = false;
  #closed = false;

  constructor(options: {
    family: UdpFamily;
    bindAddress: string;
    localPort: number;
    remote: RemoteAddress;
    onDatagram: DatagramListener;
    onReady: () => void;
    logger: Logger;
  }) {
    this.#socket = createUdpSocket(options.family);
    this.#socket.on('error', (error) => {
      // ECONNREFUSED after the peer closed its port: consent runs out on its own.
      options.logger.debug({ err: error }, 'peer socket error');
      if (!this.#ready) {
        this.close();
      }
    });
    const { address, port } = options.remote;
    const burst = new DatagramBurst(this.#socket);
    this.#socket.on('message', (datagram, from) => {
      options.onDatagram(datagram, from.address, from.port);
      if (this.#isAlone()) {
        burst.takeRest(datagram, (next) =>
          // Nobody keeps a media packet's memory.
          options.onDatagram(looksLikeRtpOrRtcp(next) ? next : Buffer.from(next), address, port),
        );
      }
    });
    this.#socket.bind(options.localPort, options.bindAddress, () => {
      if (this.#closed) {
        return;
      }
      this.#socket.connect(port, address, () => {
        if (!this.#closed) {
          growBuffers(this.#socket);
          this.#ready = true;
          this.#readyMs = performance.now();
          options.onReady();
        }
      });
    });
  }

  /** True when everything that came before the socket was connected, which may be anybody's, has long been read. */
  #isAlone(): boolean {
    return this.#ready && performance.now() - this.#readyMs > ALONE_AFTER_MS;
  }

  get ready(): boolean {
    return this.#ready;
  }

  send(datagram: Uint8Array): void {
    if (!this.#ready) {
      return;
    }
    this.#sent += 1;
    if (this.#full || (this.#sent & (QUEUE_CHECK_INTERVAL - 1)) === 0) {
      this.#full = this.#socket.getSendQueueCount() >= MAX_QUEUED_DATAGRAMS;
    }
    if (!this.#full) {
      this.#socket.send(datagram);
    }
  }

  close(): void {
    if (!this.#closed) {
      this.#closed = true;
      this.#ready = false;
      this.#socket.close();
    }
  }
}

/** A UDP socket that may share its port and never asks DNS for a literal address. */
export function createUdpSocket(family: UdpFamily): Socket {
  return createSocket({
    type: family,
    reuseAddr: true,
    lookup: (hostname, _options, callback) => callback(null, hostname, family === 'udp4' ? 4 : 6),
  });
}

export function growBuffers(socket: Socket): void {
  try {
    socket.setRecvBufferSize(SOCKET_BUFFER_BYTES);
    socket.setSendBufferSize(SOCKET_BUFFER_BYTES);
  } catch {
    // Smaller buffers only mean more loss under bursts.
  }
}
