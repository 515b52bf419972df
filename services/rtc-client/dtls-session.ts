import { DtlsClient, DtlsServer, RTCDtlsTransport, type DtlsSocket } from 'werift';
import { ServiceError } from '../base/errors.ts';
import { guardDtlsHandshake } from '../media/rtp/dtls-handshake-guard.ts';
import { SRTP_CLIENT_PROFILES, SRTP_PROFILES, SrtpSession, srtpProfileById } from '../media/rtp/srtp.ts';

type WeriftOptions = ConstructorParameters<typeof DtlsClient>[0];

export type LocalCertificate = {
  certPem: string;
  keyPem: string;
  signatureHash: NonNullable<WeriftOptions['signatureHash']>;
  /** SHA-256, upper-case hex pairs joined by ':'. */
  fingerprint: string;
};

/** One self-signed certificate per process; making one costs several milliseconds. */
export async function localCertificate(): Promise<LocalCertificate> {
  const certificate = await RTCDtlsTransport.SetupCertificate();
  const fingerprint = certificate.getFingerprints().find(({ algorithm }) => algorithm === 'sha-256')?.value;
  if (fingerprint === undefined) {
    throw new ServiceError('internal', 'the DTLS certificate has no SHA-256 fingerprint');
  }
  return {
    certPem: certificate.certPem,
    keyPem: certificate.privateKey,
    signatureHash: certificate.signatureHash,
    fingerprint: fingerprint.toUpperCase(),
  };
}

/** DTLS 1.2 over datagrams that somebody else carries; gives the SRTP session keys it negotiated. */
export class DtlsSession {
  onApplicationData: (data: Buffer) => void = () => undefined;
  /** The peer closed the connection or broke the protocol. */
  onClosed: (cause: string) => void = () => undefined;
  readonly #role: 'client' | 'server';
  readonly #socket: DtlsSocket;
  readonly #remoteFingerprint: string;
  /** Settles when the handshake does. A server's may be over before anybody waits for it. */
  readonly #shaken: Promise<void>;
  readonly #carrier: {
    type: string;
    closed: boolean;
    address: unknown;
    onData: (data: Buffer) => void;
    send: (data: Buffer) => Promise<void>;
    close: () => Promise<void>;
  };

  constructor(options: {
    role: 'client' | 'server';
    certificate: LocalCertificate;
    /** Of the certificate the peer has to prove, as its SDP says. */
    remoteFingerprint: string;
    send: (datagram: Buffer) => void;
  }) {
    this.#role = options.role;
    this.#remoteFingerprint = options.remoteFingerprint;
    this.#carrier = {
      type: 'ice',
      closed: false,
      address: {},
      onData: () => undefined,
      send: (data) => {
        options.send(data);
        return Promise.resolve();
      },
      close: () => Promise.resolve(),
    };
    const config: WeriftOptions = {
      cert: options.certificate.certPem,
      key: options.certificate.keyPem,
      signatureHash: options.certificate.signatureHash,
      transport: this.#carrier as unknown as WeriftOptions['transport'],
      srtpProfiles: SRTP_CLIENT_PROFILES.map((name) => SRTP_PROFILES[name].id),
      extendedMasterSecret: true,
    };
    this.#socket =
      options.role === 'client'
        ? new DtlsClient(config)
        : new DtlsServer({ ...config, certificateRequest: true });
    guardDtlsHandshake(this.#socket, {
      localRole: options.role,
      fingerprint: () => this.#remoteFingerprint,
    });
    this.#socket.onData.subscribe((data) => this.onApplicationData(data));
    this.#socket.onClose.subscribe(() => this.onClosed('the peer closed DTLS'));
    this.#shaken = new Promise((resolve, reject) => {
      this.#socket.onConnect.once(() => resolve());
      this.#socket.onError.once((error: unknown) => reject(handshakeError(error)));
    });
    this.#shaken.catch(() => undefined);
  }

  /** Feeds a datagram whose first byte is 20–63 (RFC 7983). */
  receive(datagram: Buffer): void {
    this.#carrier.onData(datagram);
  }

  /**
   * Starts the handshake of a client; a server's starts with the peer's first datagram. Resolves with the SRTP session
   * once it is done and the peer has proved to hold its certificate. The caller has the time limit.
   * @throws ServiceError unavailable | unauthenticated.
   */
  async handshake(): Promise<SrtpSession> {
    const socket = this.#socket;
    await Promise.race([
      this.#shaken,
      ...(socket instanceof DtlsClient ? [failureOf(socket.connect())] : []),
    ]);
    const profile = srtpProfileById(this.#socket.srtp.srtpProfile ?? 0);
    if (profile === undefined) {
      throw new ServiceError('unavailable', 'the server agreed to none of our SRTP profiles');
    }
    const { masterKeyLength, masterSaltLength } = SRTP_PROFILES[profile];
    const keys = this.#socket.extractSessionKeys(masterKeyLength, masterSaltLength) as Record<
      'localKey' | 'localSalt' | 'remoteKey' | 'remoteSalt',
      Buffer
    >;
    return new SrtpSession({
      profile,
      local: { key: keys.localKey, salt: keys.localSalt },
      remote: { key: keys.remoteKey, salt: keys.remoteSalt },
    });
  }

  get role(): 'client' | 'server' {
    return this.#role;
  }

  async send(data: Buffer): Promise<void> {
    if (!this.#carrier.closed) {
      await this.#socket.send(data);
    }
  }

  close(): void {
    this.#carrier.closed = true;
    this.onApplicationData = () => undefined;
    this.onClosed = () => undefined;
  }
}

/**
 * Never resolves: werift's promise lasts until its first flight need not be sent again, which it looks at half a second
 * later; by then the handshake is over.
 */
function failureOf(connecting: Promise<void>): Promise<never> {
  return new Promise((_resolve, reject) => {
    connecting.catch((error: unknown) => {
      reject(handshakeError(error));
    });
  });
}

function handshakeError(error: unknown): ServiceError {
  return error instanceof ServiceError
    ? error
    : new ServiceError('unavailable', 'the DTLS handshake failed', { cause: error });
}
