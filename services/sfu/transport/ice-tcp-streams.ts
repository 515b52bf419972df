import type { Logger } from '../../base/logger.ts';
import { looksLikeStun, parseStunBinding } from '../../protocol/stun.ts';
import type { IceTcpConnection } from './ice-tcp-connection.ts';
import { IceTcpListener, type IceTcpOptions } from './ice-tcp-listener.ts';
import type { PeerConnection } from './peer-connection.ts';

type PeersByUfrag = (ufrag: string) => PeerConnection | undefined;

/** Which TCP connection belongs to which peer: the one whose password came over it first, and for good. */
export class IceTcpStreams {
  readonly #listener: IceTcpListener;
  readonly #logger: Logger;
  readonly #find: PeersByUfrag;
  readonly #owners = new Map<IceTcpConnection, PeerConnection>();
  /** Oldest first. */
  readonly #streams = new Map<PeerConnection, Set<IceTcpConnection>>();

  /** @throws ServiceError unavailable when the port is taken. */
  static async open(
    options: IceTcpOptions & { bindAddress: string; logger: Logger; find: PeersByUfrag },
  ): Promise<IceTcpStreams> {
    return new IceTcpStreams(await IceTcpListener.open(options), options.logger, options.find);
  }

  private constructor(listener: IceTcpListener, logger: Logger, find: PeersByUfrag) {
    this.#listener = listener;
    this.#logger = logger;
    this.#find = find;
    listener.attach({
      onPacket: (connection, packet) => this.#onPacket(connection, packet),
      onClosed: (connection) => this.#onClosed(connection),
    });
  }

  get port(): number {
    return this.#listener.port;
  }

  /** The peer has left. */
  closeOf(peer: PeerConnection): void {
    for (const connection of this.#streams.get(peer) ?? []) {
      connection.close('transport closed');
    }
  }

  close(): Promise<void> {
    return this.#listener.close();
  }

  #onPacket(connection: IceTcpConnection, packet: Buffer): void {
    const owner = this.#owners.get(connection);
    if (looksLikeStun(packet)) {
      this.#onStun(connection, packet, owner);
    } else if (owner !== undefined) {
      try {
        owner.handleDatagram(packet);
      } catch (error) {
        this.#logger.error({ err: error }, 'packet handling failed');
      }
    }
  }

  #onStun(connection: IceTcpConnection, packet: Buffer, owner: PeerConnection | undefined): void {
    const message = parseStunBinding(packet);
    const peer = this.#find(message?.username.split(':', 1)[0] ?? '');
    if (message?.class !== 'request' || peer === undefined || (owner !== undefined && owner !== peer)) {
      return;
    }
    const response = peer.handleBinding(packet, message, connection.remote);
    if (response !== undefined) {
      if (owner === undefined) {
        this.#own(peer, connection);
      }
      connection.send(response);
    }
  }

  #own(peer: PeerConnection, connection: IceTcpConnection): void {
    connection.authenticated();
    this.#owners.set(connection, peer);
    const streams = this.#streams.get(peer) ?? new Set();
    this.#streams.set(peer, streams.add(connection));
    if (streams.size > this.#listener.limits.maxConnectionsPerPeer) {
      const unused = [...streams].find((stream) => stream !== peer.ice.selected?.stream);
      unused?.close('the peer has newer connections');
    }
  }

  #onClosed(connection: IceTcpConnection): void {
    const peer = this.#owners.get(connection);
    if (peer !== undefined) {
      this.#owners.delete(connection);
      const streams = this.#streams.get(peer);
      streams?.delete(connection);
      if (streams?.size === 0) {
        this.#streams.delete(peer);
      }
      peer.ice.streamLost(connection);
    }
  }
}
