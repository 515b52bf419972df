import { createSocket, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { messageOf, ServiceError } from '../../base/errors.ts';
import type { LocalMedia } from '../../media/rtp/local-media.ts';
import type { Logger } from '../../base/logger.ts';
import { looksLikeStun, parseStunBinding } from '../../protocol/stun.ts';
import { MediaTicker } from '../forwarding/media-ticker.ts';
import type { PeerTransport, TransportOptions, UdpMux } from '../media-types.ts';
import { createDtlsCertificate, type DtlsCertificate } from './dtls-certificate.ts';
import { advertisedAddresses } from './advertised-addresses.ts';
import { hostCandidates, type RemoteAddress } from './ice-lite.ts';
import type { IceTcpOptions } from './ice-tcp-listener.ts';
import { IceTcpStreams } from './ice-tcp-streams.ts';
import { PeerConnection } from './peer-connection.ts';
import { createUdpSocket, growBuffers, PeerSocket, type UdpFamily } from './peer-socket.ts';

const MAX_TRANSPORTS = 5_000;
/** Authenticated addresses a peer may have at a time; the oldest are forgotten first. */
const MAX_ADDRESSES_PER_PEER = 16;
/** Browsers check their path every few seconds; after this an address is free for somebody else. */
const ADDRESS_HOLD_MS = 10_000;
const SWEEP_INTERVAL_MS = 1_000;

export type UdpMuxOptions = {
  /** 0 = any free port. */
  port: number;
  /** '0.0.0.0' and '::' listen everywhere. */
  bindAddress: string;
  /** Addresses clients are told; [] = the bind address, or this machine's own when that is a wildcard. */
  advertiseAddresses: readonly string[];
  /** Undefined: no ICE over TCP. */
  tcp?: IceTcpOptions;
  logger: Logger;
  /** A connected socket per peer on the same port; default on Linux, where the kernel prefers it. */
  connectedSockets?: boolean;
  localMedia?: LocalMedia;
};

/** Binds the one UDP port of all media, and the TCP port. Throws ServiceError `unavailable` when one is taken. */
export async function createUdpMux(options: UdpMuxOptions): Promise<UdpMux> {
  const family: UdpFamily = isIPv6(options.bindAddress) ? 'udp6' : 'udp4';
  const certificate = await createDtlsCertificate();
  // With reuseAddr two processes could take the same port and steal each other's packets, so try without it first.
  const probe = createSocket({ type: family });
  const port = await bind(probe, options);
  await new Promise<void>((resolve) => probe.close(() => resolve()));
  const socket = createUdpSocket(family);
  await bind(socket, { ...options, port });
  growBuffers(socket);
  const mux = new SharedUdpPort({ ...options, port }, family, socket, certificate);
  try {
    await mux.openTcp();
  } catch (error) {
    await mux.close();
    throw error;
  }
  return mux;
}

function bind(socket: Socket, options: { port: number; bindAddress: string }): Promise<number> {
  return new Promise((resolve, reject) => {
    socket.once('error', (error) => {
      reject(
        new ServiceError(
          'unavailable',
          `cannot listen on UDP ${options.bindAddress}:${options.port}: ${messageOf(error)}`,
          { scope: 'node', cause: error },
        ),
      );
    });
    socket.bind(options.port, options.bindAddress, () => resolve(socket.address().port));
  });
}

type Peer = {
  connection: PeerConnection;
  /** Under which ufrags it is registered. */
  ufrags: string[];
  /** Keys of #peersByAddress, oldest first. */
  addresses: string[];
  selected: RemoteAddress | undefined;
  socket: PeerSocket | undefined;
};

class SharedUdpPort implements UdpMux {
  readonly port: number;
  readonly #options: UdpMuxOptions;
  readonly #family: UdpFamily;
  readonly #socket: Socket;
  readonly #certificate: DtlsCertificate;
  #candidates: readonly string[];
  #tcp: IceTcpStreams | undefined;
  readonly #connectedSockets: boolean;
  readonly #ticker: MediaTicker;
  readonly #peers = new Set<Peer>();
  readonly #peersByUfrag = new Map<string, Peer>();
  readonly #peersByAddress = new Map<string, Peer>();
  readonly #sweep: NodeJS.Timeout;
  #closed = false;

  constructor(options: UdpMuxOptions, family: UdpFamily, socket: Socket, certificate: DtlsCertificate) {
    this.port = options.port;
    this.#options = options;
    this.#family = family;
    this.#ticker = new MediaTicker(options.logger);
    this.#socket = socket;
    this.#certificate = certificate;
    this.#candidates = hostCandidates(advertisedAddresses(options, family), options.port);
    this.#connectedSockets = options.connectedSockets ?? process.platform === 'linux';
    socket.on('message', (datagram, from) => this.#dispatch(datagram, from.address, from.port));
    // Unreachable peers come here too, once per packet.
    socket.on('error', (error) => options.logger.debug({ err: error }, 'UDP socket error'));
    this.#sweep = setInterval(() => {
      const nowMs = performance.now();
      for (const peer of this.#peers) {
        peer.connection.checkTimeouts(nowMs);
      }
    }, SWEEP_INTERVAL_MS);
    this.#sweep.unref();
  }

  get tcpPort(): number {
    return this.#tcp?.port ?? 0;
  }

  /** Before the first transport. */
  async openTcp(): Promise<void> {
    const { tcp, bindAddress, logger } = this.#options;
    if (tcp !== undefined) {
      const find = (ufrag: string): PeerConnection | undefined => this.#peersByUfrag.get(ufrag)?.connection;
      this.#tcp = await IceTcpStreams.open({ ...tcp, bindAddress, logger, find });
      this.#candidates = hostCandidates(
        advertisedAddresses(this.#options, this.#family),
        this.port,
        this.#tcp.port,
      );
    }
  }

  createTransport(options: TransportOptions): PeerTransport {
    if (this.#closed || this.#peers.size >= MAX_TRANSPORTS) {
      throw new ServiceError(
        this.#closed ? 'unavailable' : 'resource_exhausted',
        this.#closed ? 'the media port is closed' : `no more than ${MAX_TRANSPORTS} transports`,
        { scope: 'node' },
      );
    }
    const connection = new PeerConnection({
      certificate: this.#certificate,
      candidates: this.#candidates,
      ticker: this.#ticker,
      batchMs: options.batchMs ?? 0,
      closeNotify: options.closeNotify ?? false,
      ...(this.#options.localMedia === undefined ? {} : { localMedia: this.#options.localMedia }),
      logger: this.#options.logger.child({ transport: options.label }),
      port: {
        send: (datagram) => this.#send(peer, datagram),
        credentialsChanged: () => this.#register(peer),
        selectedChanged: (remote) => this.#select(peer, remote),
        closed: () => this.#remove(peer),
      },
    });
    const peer: Peer = {
      connection,
      ufrags: [],
      addresses: [],
      selected: undefined,
      socket: undefined,
    };
    this.#peers.add(peer);
    this.#register(peer);
    return connection;
  }

  async close(): Promise<void> {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    clearInterval(this.#sweep);
    await Promise.all([...this.#peers].map(({ connection }) => connection.close('mux closed')));
    await this.#tcp?.close();
    await new Promise<void>((resolve) => this.#socket.close(() => resolve()));
  }

  #dispatch(datagram: Buffer, address: string, port: number): void {
    if (looksLikeStun(datagram)) {
      this.#handleStun(datagram, address, port);
      return;
    }
    // Only addresses that passed an authenticated check are known.
    const peer = this.#peersByAddress.get(addressKey(address, port));
    if (peer !== undefined) {
      this.#deliver(peer, datagram);
    }
  }

  /** No datagram may end the process, whatever fault it meets. */
  #deliver(peer: Peer, datagram: Buffer): void {
    try {
      peer.connection.handleDatagram(datagram);
    } catch (error) {
      this.#options.logger.error({ err: error }, 'datagram handling failed');
    }
  }

  #handleStun(datagram: Buffer, address: string, port: number): void {
    const message = parseStunBinding(datagram);
    if (message?.class !== 'request') {
      return;
    }
    const peer = this.#peersByUfrag.get(message.username.split(':', 1)[0] ?? '');
    const key = addressKey(address, port);
    if (peer === undefined || this.#isHeldByAnother(peer, key)) {
      return;
    }
    const response = peer.connection.handleBinding(datagram, message, { address, port });
    if (response === undefined) {
      return;
    }
    this.#claim(peer, key);
    if (peer.socket?.ready === true && isAt(peer.selected, address, port)) {
      peer.socket.send(response);
    } else {
      this.#socket.send(response, port, address);
    }
  }

  /**
   * True when another peer lives at this address. Source addresses can be forged: without this, one participant could take
   * another one's packets away.
   */
  #isHeldByAnother(peer: Peer, key: string): boolean {
    const owner = this.#peersByAddress.get(key);
    return (
      owner !== undefined &&
      owner !== peer &&
      owner.selected !== undefined &&
      keyOf(owner.selected) === key &&
      owner.connection.state === 'connected' &&
      performance.now() - owner.connection.ice.lastCheckMs < ADDRESS_HOLD_MS
    );
  }

  /** Makes an address belong to the peer that authenticated from it last. */
  #claim(peer: Peer, key: string): void {
    const owner = this.#peersByAddress.get(key);
    if (owner === peer) {
      return;
    }
    if (owner !== undefined) {
      owner.addresses = owner.addresses.filter((known) => known !== key);
      if (owner.selected !== undefined && keyOf(owner.selected) === key) {
        owner.socket?.close();
        owner.socket = undefined;
      }
    }
    this.#peersByAddress.set(key, peer);
    peer.addresses.push(key);
    if (peer.addresses.length > MAX_ADDRESSES_PER_PEER) {
      const oldest = peer.addresses.findIndex(
        (known) => peer.selected === undefined || known !== keyOf(peer.selected),
      );
      for (const forgotten of peer.addresses.splice(oldest, 1)) {
        this.#peersByAddress.delete(forgotten);
      }
    }
  }

  #select(peer: Peer, remote: RemoteAddress): void {
    peer.selected = remote;
    const old = peer.socket;
    peer.socket = undefined;
    old?.close();
    if (!this.#connectedSockets || remote.stream !== undefined) {
      return;
    }
    const socket = new PeerSocket({
      family: this.#family,
      bindAddress: this.#options.bindAddress,
      localPort: this.port,
      remote,
      logger: this.#options.logger,
      onReady: () => {
        if (peer.socket !== socket) {
          socket.close();
        }
      },
      onDatagram: (datagram, address, port) => {
        if (
          peer.socket === socket &&
          !looksLikeStun(datagram) &&
          port === remote.port &&
          address === remote.address
        ) {
          this.#deliver(peer, datagram);
        } else {
          this.#dispatch(datagram, address, port);
        }
      },
    });
    peer.socket = socket;
  }

  #send(peer: Peer, datagram: Uint8Array): void {
    if (peer.socket?.ready === true) {
      peer.socket.send(datagram);
    } else if (peer.selected?.stream !== undefined) {
      peer.selected.stream.send(datagram);
    } else if (peer.selected !== undefined && !this.#closed) {
      this.#socket.send(datagram, peer.selected.port, peer.selected.address);
    }
  }

  #register(peer: Peer): void {
    for (const ufrag of peer.ufrags) {
      this.#peersByUfrag.delete(ufrag);
    }
    peer.ufrags = peer.connection.ice.ufrags;
    for (const ufrag of peer.ufrags) {
      this.#peersByUfrag.set(ufrag, peer);
    }
  }

  #remove(peer: Peer): void {
    this.#peers.delete(peer);
    for (const ufrag of peer.ufrags) {
      this.#peersByUfrag.delete(ufrag);
    }
    for (const key of peer.addresses) {
      this.#peersByAddress.delete(key);
    }
    peer.socket?.close();
    peer.socket = undefined;
    this.#tcp?.closeOf(peer.connection);
  }
}

function addressKey(address: string, port: number): string {
  return `${address}:${port}`;
}

function keyOf(remote: RemoteAddress): string {
  return remote.stream === undefined ? addressKey(remote.address, remote.port) : '';
}

function isAt(remote: RemoteAddress | undefined, address: string, port: number): boolean {
  return remote?.port === port && remote.address === address && remote.stream === undefined;
}
