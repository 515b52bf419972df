import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { messageOf, ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import {
  destinationOf,
  inductionAnswer,
  parseHandshake,
  rejection,
  type SrtHandshake,
  type SrtReject,
} from '../../protocol/srt-handshake.ts';
import type { AddressLimiter } from '../servers/address-limiter.ts';
import { RequestRate } from '../servers/request-rate.ts';
import { SrtConnection, type OnSrtPublish } from './srt-connection.ts';
import { SRT_LIMITS, type SrtLimits } from './srt-limits.ts';
import { SynCookie } from './syn-cookie.ts';

export type SrtServerOptions = {
  /** 0 = any free port. */
  port: number;
  bindAddress: string;
  /** All publishers encrypt with it; '' = none may. */
  passphrase: string;
  limits?: Partial<SrtLimits>;
  /** Counts together with other listeners, so that a second port is no second chance. */
  limiter: AddressLimiter;
  ffmpegPath: string;
  logger: Logger;
  onPublish: OnSrtPublish;
};

export type SrtServer = {
  readonly port: number;
  /** Open connections, those that are being opened included. */
  readonly connections: number;
  /** Stops listening, drops every encoder; resolves when all their readers are gone. Idempotent. */
  close(cause: string): Promise<void>;
};

const HANDSHAKE_VERSION = 5;
/** Datagrams wait here while something else runs. */
const RECEIVE_BUFFER_BYTES = 4 << 20;

/** @throws ServiceError unavailable when the address cannot be bound. */
export async function startSrtServer(options: SrtServerOptions): Promise<SrtServer> {
  const socket = createSocket({
    type: isIPv6(options.bindAddress) ? 'udp6' : 'udp4',
    recvBufferSize: RECEIVE_BUFFER_BYTES,
  });
  await bind(socket, options);
  const front = new SrtFront(options, socket);
  return {
    port: socket.address().port,
    get connections() {
      return front.size;
    },
    close: (cause) => front.close(cause),
  };
}

/**
 * The one UDP port of all publishers. It answers the handshake itself until a caller has shown that it receives at its
 * address (cookie) and that its key is good; nothing is started for anybody before.
 */
class SrtFront {
  readonly #options: SrtServerOptions;
  readonly #limits: SrtLimits;
  readonly #socket: Socket;
  readonly #cookie = new SynCookie();
  readonly #rate: RequestRate;
  /** By address, port and the caller's socket id. */
  readonly #callers = new Map<string, SrtConnection>();
  /** By address, port and the socket id the caller sends to. */
  readonly #open = new Map<string, SrtConnection>();
  #isClosing = false;
  #closed: Promise<void> | undefined;

  constructor(options: SrtServerOptions, socket: Socket) {
    this.#options = options;
    this.#limits = { ...SRT_LIMITS, ...options.limits };
    this.#socket = socket;
    this.#rate = new RequestRate({
      burst: this.#limits.handshakeBurst,
      perS: this.#limits.handshakesPerS,
    });
    socket.on('message', (datagram, remote) => {
      this.#onDatagram(datagram, remote);
    });
  }

  get size(): number {
    return this.#callers.size;
  }

  close(cause: string): Promise<void> {
    this.#closed ??= this.#close(cause);
    return this.#closed;
  }

  async #close(cause: string): Promise<void> {
    this.#isClosing = true;
    const connections = [...this.#callers.values()];
    connections.forEach((connection) => {
      connection.drop(cause);
    });
    await Promise.all(connections.map(({ ended }) => ended));
    await new Promise<void>((resolve) => this.#socket.close(() => resolve()));
  }

  #onDatagram(datagram: Buffer, remote: RemoteInfo): void {
    const destination = destinationOf(datagram);
    if (destination === undefined || datagram.length > this.#limits.maxDatagramBytes) {
      return;
    }
    if (destination !== 0) {
      this.#open.get(callerKey(remote, destination))?.onPacket(datagram);
      return;
    }
    const handshake = parseHandshake(datagram);
    if (handshake === undefined || handshake.kind === 'other') {
      return;
    }
    const key = callerKey(remote, handshake.socketId);
    const caller = this.#callers.get(key);
    if (caller !== undefined) {
      if (handshake.kind === 'conclusion') {
        caller.onConclusion(datagram);
      }
    } else if (this.#rate.take(remote.address)) {
      this.#onHandshake(datagram, handshake, remote, key);
    }
  }

  #onHandshake(datagram: Buffer, handshake: SrtHandshake, remote: RemoteInfo, key: string): void {
    if (handshake.kind === 'induction') {
      this.#send(inductionAnswer(datagram, this.#cookie.make(key)), remote);
      return;
    }
    if (!this.#cookie.isGood(key, handshake.cookie)) {
      return;
    }
    const refusal = this.#refusalOf(handshake, remote.address);
    if (refusal !== undefined) {
      const { reject, reason } = refusal;
      this.#options.logger.warn({ remoteAddress: remote.address, reason }, 'srt connection refused');
      this.#send(rejection(datagram, reject), remote);
      return;
    }
    this.#connect(datagram, handshake, remote, key);
  }

  /** Undefined: admitted, and the limiter must be told of its end. */
  #refusalOf({ version }: SrtHandshake, address: string): { reject: SrtReject; reason: string } | undefined {
    const { limiter } = this.#options;
    if (version !== HANDSHAKE_VERSION) {
      return { reject: 'version', reason: 'SRT older than 1.3, which has no stream id' };
    }
    if (this.#isClosing) {
      return { reject: 'unavailable', reason: 'server is shutting down' };
    }
    const halfOpen = [...this.#callers.values()].filter(({ isHalfOpen }) => isHalfOpen).length;
    if (halfOpen >= this.#limits.maxHalfOpen) {
      return { reject: 'overload', reason: 'too many connections are being opened' };
    }
    const reason = limiter.admit(address);
    return reason === undefined ? undefined : { reject: 'overload', reason };
  }

  #connect(conclusion: Buffer, { socketId }: SrtHandshake, remote: RemoteInfo, key: string): void {
    const { limiter, logger, passphrase, ffmpegPath, onPublish } = this.#options;
    const remoteAddress = remote.address;
    let openKey: string | undefined;
    const connection = new SrtConnection({
      ...{ remoteAddress, conclusion, passphrase, ffmpegPath, onPublish },
      callerId: socketId,
      limits: this.#limits,
      logger: logger.child({ remoteAddress }),
      send: (datagram) => {
        this.#send(datagram, remote);
      },
      onOpen: (readerId) => {
        openKey = callerKey(remote, readerId);
        this.#open.set(openKey, connection);
      },
      onWrongKey: () => {
        limiter.fail(remoteAddress);
      },
    });
    this.#callers.set(key, connection);
    void connection.ended.then(() => {
      this.#callers.delete(key);
      if (openKey !== undefined) {
        this.#open.delete(openKey);
      }
      limiter.release(remoteAddress);
    });
  }

  /** What does not get through is asked for again. */
  #send(datagram: Buffer, remote: RemoteInfo): void {
    this.#socket.send(datagram, remote.port, remote.address, () => undefined);
  }
}

function callerKey({ address, port }: RemoteInfo, socketId: number): string {
  return `${address} ${port} ${socketId}`;
}

function bind(socket: Socket, { port, bindAddress, logger }: SrtServerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('error', (error) => {
      reject(
        new ServiceError(
          'unavailable',
          `SRT: cannot listen on UDP ${bindAddress}:${port} (${messageOf(error)}); set another srt_port`,
          { scope: 'node', cause: error },
        ),
      );
    });
    socket.bind(port, bindAddress, () => {
      socket.removeAllListeners('error').on('error', (error) => {
        logger.error({ err: error }, 'srt listener failed');
      });
      resolve();
    });
  });
}
