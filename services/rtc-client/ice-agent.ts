import type { RemoteInfo, Socket } from 'node:dgram';
import { IceCandidate, candidateToSdp, RTCIceGatherer, RTCIceTransport } from 'werift';
import { DatagramBurst } from '../base/datagram-burst.ts';
import type { Logger } from '../base/logger.ts';
import { looksLikeRtpOrRtcp } from '../media/rtp/rtp-header.ts';

export type IceServer = { urls: readonly string[]; username: string; credential: string };

export type RemoteIceParameters = {
  ufrag: string;
  pwd: string;
  lite: boolean;
  /** `candidate:…` lines. */
  candidates: readonly string[];
};

/** RFC 8445 wants large buffers nowhere, but a key frame arrives as one burst; the kernel caps this as it likes. */
const SOCKET_BUFFER_BYTES = 4 << 20;
const MAX_REMOTE_CANDIDATES = 128;

type HostPort = [host: string, port: number];

/**
 * The ICE agent of the client, always controlling. werift does the checks, consent (RFC 7675) and TURN; its default of
 * asking a public STUN server is switched off: only servers from the join response are contacted.
 */
export class IceAgent {
  /** Datagrams that are not STUN. */
  onDatagram: (datagram: Buffer) => void = () => undefined;
  /** A local candidate (`candidate:…`). */
  onCandidate: (candidate: string) => void = () => undefined;
  onFailed: () => void = () => undefined;
  readonly #logger: Logger;
  readonly #gatherer: RTCIceGatherer;
  readonly #transport: RTCIceTransport;
  readonly #hardened = new WeakSet<object>();
  #remoteUfrag = '';
  #remoteCandidates = 0;
  #closed = false;
  #path: { pair: object; socket: Socket | undefined; address: Readonly<HostPort> } | undefined;

  constructor(options: { logger: Logger; loopback: boolean }) {
    this.#logger = options.logger;
    this.#gatherer = new RTCIceGatherer({
      useIpv4: true,
      useIpv6: true,
      ...(options.loopback ? { additionalHostAddresses: ['127.0.0.1'] } : {}),
    });
    const connection = this.#gatherer.connection;
    connection.stunServer = undefined as unknown as HostPort;
    connection.iceControlling = true;
    this.#transport = new RTCIceTransport(this.#gatherer);
    connection.onData.subscribe((datagram) => this.onDatagram(datagram));
    connection.onIceCandidate.subscribe((candidate) => {
      this.#hardenSockets();
      const line = candidateToSdp(
        new IceCandidate(
          candidate.component,
          candidate.foundation,
          candidate.host,
          candidate.port,
          candidate.priority,
          candidate.transport,
          candidate.type,
          candidate.generation,
          candidate.ufrag,
        ),
      );
      this.onCandidate(`candidate:${line}`);
    });
    connection.stateChanged.subscribe((state) => {
      if (state === 'failed' && !this.#closed) {
        this.onFailed();
      }
    });
  }

  get ufrag(): string {
    return this.#gatherer.connection.localUsername;
  }

  get pwd(): string {
    return this.#gatherer.connection.localPassword;
  }

  /** Round trip of the selected pair, 0 when not known. */
  get roundTripMs(): number {
    return (this.#gatherer.connection.nominated?.rtt ?? 0) * 1000;
  }

  /** Servers from the join response; call before gather(). The first of each kind that Node can reach is used. */
  setServers(servers: readonly IceServer[], relayOnly: boolean): void {
    const connection = this.#gatherer.connection;
    for (const server of servers) {
      for (const url of server.urls) {
        const match = /^(stuns?|turns?):([^:?[\]]+)(?::(\d+))?(?:\?transport=(udp|tcp))?$/i.exec(url);
        const [, scheme = '', host = '', port, transport] = match ?? [];
        const secure = scheme.toLowerCase().endsWith('s');
        const address: HostPort = [host, port === undefined ? (secure ? 5349 : 3478) : Number(port)];
        if (/^stun$/i.test(scheme)) {
          connection.stunServer ??= address;
        } else if (/^turns?$/i.test(scheme) && connection.turnServer === undefined) {
          connection.turnServer = address;
          connection.options.turnUsername = server.username;
          connection.options.turnPassword = server.credential;
          connection.options.turnTransport = secure ? 'tls' : transport === 'tcp' ? 'tcp' : 'udp';
          connection.options.forceTurn = relayOnly;
        }
      }
    }
  }

  /** Resolves when the first host candidate is there; gathering goes on behind it. */
  async gather(): Promise<void> {
    const connection = this.#gatherer.connection;
    const first = new Promise<void>((resolve) => connection.onIceCandidate.once(() => resolve()));
    const all = this.#gatherer.gather().catch((error: unknown) => {
      this.#logger.warn({ err: error }, 'gathering ICE candidates failed');
    });
    await Promise.race([first, all]);
  }

  /**
   * Applies the answer. Starts checks the first time and after restart(). Rejects when no pair works; the caller has
   * the time limit.
   */
  async connect(remote: RemoteIceParameters): Promise<void> {
    this.#remoteUfrag = remote.ufrag;
    this.#gatherer.connection.iceControlling = true;
    this.#gatherer.connection.setRemoteParams({
      usernameFragment: remote.ufrag,
      password: remote.pwd,
      iceLite: remote.lite,
    });
    for (const candidate of remote.candidates) {
      await this.addRemoteCandidate(candidate);
    }
    await this.#gatherer.connection.connect();
    this.#hardenSockets();
  }

  /** Accepts `candidate:…` lines; what cannot be read or does not belong to the current generation is ignored. */
  async addRemoteCandidate(line: string): Promise<void> {
    if (this.#closed || line === '' || this.#remoteCandidates >= MAX_REMOTE_CANDIDATES) {
      return;
    }
    const candidate = IceCandidate.fromJSON({ candidate: line, sdpMLineIndex: 0, sdpMid: '0' });
    if (candidate === undefined || (candidate.ufrag !== undefined && candidate.ufrag !== this.#remoteUfrag)) {
      return;
    }
    if (candidate.protocol.toLowerCase() !== 'udp') {
      return;
    }
    this.#remoteCandidates += 1;
    try {
      await this.#transport.addRemoteCandidate(candidate);
    } catch (error) {
      this.#logger.debug({ err: error }, 'remote ICE candidate not usable');
    }
  }

  /** New ufrag and pwd, for an offer that restarts ICE; DTLS goes on over the pair found next. */
  async restart(): Promise<void> {
    this.#remoteCandidates = 0;
    this.#remoteUfrag = '';
    this.#transport.restart();
    this.#gatherer.connection.iceControlling = true;
    await this.gather();
  }

  /**
   * Drops the datagram when there is no selected pair or consent was lost (werift's state is then failed). On UDP it
   * goes straight to the socket: werift's own way there is three promises long, for each packet. While ICE restarts,
   * the old pair stays in use until there is a new one (RFC 8445 §9).
   */
  send(datagram: Buffer): void {
    const { connection } = this.#gatherer;
    const pair = connection.nominated;
    if (connection.state === 'failed' || connection.state === 'closed') {
      return;
    }
    if (pair !== undefined && pair !== this.#path?.pair) {
      const socket = pair.protocol.type === 'stun' ? socketOf(pair.protocol) : undefined;
      this.#path = { pair, socket, address: pair.remoteAddr };
    }
    if (this.#path === undefined) {
      return;
    }
    const { socket, address } = this.#path;
    if (socket === undefined) {
      connection.send(datagram).catch(() => undefined);
    } else {
      socket.send(datagram, address[1], address[0]);
    }
  }

  async close(): Promise<void> {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    await this.#transport.stop();
  }

  /**
   * Media and DTLS go straight to us; werift sees STUN only (first byte below 20, RFC 7983). Its own way is four events
   * and a STUN parse for each packet. SRTP and DTLS authenticate what arrives, so no address has to be compared.
   */
  #receiveDirectly(socket: Socket): void {
    const [forward] = socket.listeners('message') as ((datagram: Buffer, from: RemoteInfo) => void)[];
    if (forward === undefined) {
      return;
    }
    const receive = (datagram: Buffer, from: RemoteInfo): void => {
      if ((datagram[0] ?? 0) >= 20) {
        this.onDatagram(datagram);
      } else {
        forward(datagram, from);
      }
    };
    const burst = new DatagramBurst(socket);
    socket.off('message', forward);
    socket.on('message', (datagram, from) => {
      receive(datagram, from);
      if (looksLikeRtpOrRtcp(datagram)) {
        // What comes in the middle of media comes from where that does, and nobody keeps a media packet's memory.
        burst.takeRest(datagram, (next) =>
          receive(looksLikeRtpOrRtcp(next) ? next : Buffer.from(next), from),
        );
      }
    });
  }

  /**
   * werift puts no 'error' listener on its UDP sockets, so an unreachable network would end the process; and its
   * receive buffers have the system's default size.
   */
  #hardenSockets(): void {
    const protocols: unknown = Reflect.get(this.#gatherer.connection, 'protocols');
    for (const protocol of Array.isArray(protocols) ? (protocols as unknown[]) : []) {
      const socket = socketOf(protocol);
      if (socket === undefined || this.#hardened.has(socket)) {
        continue;
      }
      this.#hardened.add(socket);
      this.#receiveDirectly(socket);
      socket.on('error', (error) => this.#logger.debug({ err: error }, 'UDP socket error'));
      try {
        socket.setRecvBufferSize(SOCKET_BUFFER_BYTES);
        socket.setSendBufferSize(SOCKET_BUFFER_BYTES);
      } catch {
        // Not bound yet or refused by the system: the default size works, with less room for bursts.
      }
    }
  }
}

/** The UDP socket inside one of werift's protocol objects. */
function socketOf(protocol: unknown): Socket | undefined {
  return (protocol as { transport?: { socket?: Socket } }).transport?.socket;
}
