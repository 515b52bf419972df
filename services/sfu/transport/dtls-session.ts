import { DtlsClient, DtlsServer, type DtlsSocket } from 'werift';
import { messageOf, ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { guardDtlsHandshake } from '../../media/rtp/dtls-handshake-guard.ts';
import { readU16 } from '../../media/rtp/bytes.ts';
import {
  SRTP_PROFILE_PREFERENCE,
  SRTP_PROFILES,
  SrtpSession,
  srtpProfileById,
} from '../../media/rtp/srtp.ts';
import type { DtlsCertificate } from './dtls-certificate.ts';
import { DtlsRecordFilter, type DtlsAlert } from './dtls-record-filter.ts';

const CLOSE_NOTIFY = 0;
const ALERT = 21;
const WARNING = 1;
const RECORD_HEADER_LENGTH = 13;
/** Above every flight number: ends werift's retransmission loops. */
const ALL_FLIGHTS_DONE = 100;

export type DtlsSessionOptions = {
  role: 'server' | 'client';
  certificate: DtlsCertificate;
  /** Read when the handshake ends, so that an offer may still change it. */
  remoteFingerprint: () => string;
  send: (datagram: Buffer) => void;
  /** `srtp` is undefined when the peer did not ask for SRTP (data channels only). */
  onConnected: (srtp: SrtpSession | undefined) => void;
  onData: (data: Buffer) => void;
  /** Called once, before or after onConnected. */
  onFailed: (error: ServiceError) => void;
  logger: Logger;
};

type Socket = InstanceType<typeof DtlsSocket>;

/** One DTLS association: werift's handshake and record layer behind a filter and with the checks werift leaves out. */
export class DtlsSession {
  readonly #options: DtlsSessionOptions;
  readonly #filter = new DtlsRecordFilter();
  readonly #socket: Socket;
  /** werift's receiving function, which it hands to its transport. */
  readonly #transport: { onData: (record: Buffer) => void };
  #connected = false;
  #ended = false;

  constructor(options: DtlsSessionOptions) {
    this.#options = options;
    const transport = {
      type: 'udp',
      address: { address: '', port: 0, family: 'IPv4' },
      closed: false,
      onData: (_record: Buffer): void => undefined,
      send: (datagram: Buffer): Promise<void> => {
        if (!this.#ended) {
          options.send(datagram);
        }
        return Promise.resolve();
      },
      close: (): Promise<void> => Promise.resolve(),
    };
    const socketOptions = {
      transport,
      cert: options.certificate.certPem,
      key: options.certificate.keyPem,
      signatureHash: options.certificate.signatureHash,
      srtpProfiles: SRTP_PROFILE_PREFERENCE.map((name) => SRTP_PROFILES[name].id),
      extendedMasterSecret: true,
      certificateRequest: options.role === 'server',
    };
    this.#socket = options.role === 'server' ? new DtlsServer(socketOptions) : new DtlsClient(socketOptions);
    this.#transport = transport;
    guardDtlsHandshake(this.#socket, {
      localRole: options.role,
      fingerprint: options.remoteFingerprint,
    });
    this.#socket.onConnect.once(() => this.#onHandshakeDone());
    this.#socket.onData.subscribe((data) => {
      if (!this.#ended) {
        options.onData(data);
      }
    });
    this.#socket.onError.subscribe((error) => {
      if (!this.#connected) {
        this.#fail(error);
      }
    });
  }

  /** Client role: sends the ClientHello, repeated by werift until answered. */
  connect(): void {
    if (this.#socket instanceof DtlsClient) {
      this.#socket.connect().catch((error: unknown) => {
        if (!this.#connected) {
          this.#fail(error);
        }
      });
    }
  }

  /** Never throws, whatever the datagram is. */
  receive(datagram: Buffer): void {
    if (this.#ended) {
      return;
    }
    const withinBudget = this.#filter.filter(
      datagram,
      (record) => {
        try {
          this.#transport.onData(record);
        } catch (error) {
          this.#options.logger.debug({ err: error }, 'DTLS record refused');
        }
      },
      (record, plain) => this.#onAlert(record, plain),
    );
    if (!withinBudget) {
      this.#fail(new ServiceError('resource_exhausted', 'DTLS: too many handshake datagrams'));
    }
  }

  /** Encrypts and sends application data (SCTP). Dropped before the handshake is done. */
  send(data: Buffer): void {
    if (!this.#connected || this.#ended) {
      return;
    }
    this.#socket.send(data).catch((error: unknown) => {
      this.#options.logger.debug({ err: error }, 'DTLS send failed');
    });
  }

  /** Tells the peer that this is the end (RFC 5246 section 7.2.1). Nothing happens before the handshake is done. */
  sendCloseNotify(): void {
    if (!this.#connected || this.#ended) {
      return;
    }
    const { dtls, cipher } = this.#socket;
    dtls.recordSequenceNumber += 1;
    const header = {
      contentType: ALERT,
      protocolVersion: dtls.version,
      epoch: dtls.epoch,
      sequenceNumber: dtls.recordSequenceNumber,
      contentLen: 2,
    };
    const record: unknown = { recordLayerHeader: header, fragment: Buffer.from([WARNING, CLOSE_NOTIFY]) };
    const { fragment } = cipher.encryptPacket(record as Parameters<typeof cipher.encryptPacket>[0]);
    const head = Buffer.alloc(RECORD_HEADER_LENGTH);
    head.writeUInt8(header.contentType, 0);
    head.writeUInt8(header.protocolVersion.major, 1);
    head.writeUInt8(header.protocolVersion.minor, 2);
    head.writeUInt16BE(header.epoch, 3);
    head.writeUIntBE(header.sequenceNumber, 5, 6);
    head.writeUInt16BE(fragment.length, 11);
    this.#options.send(Buffer.concat([head, fragment]));
  }

  close(): void {
    this.#ended = true;
    this.#socket.dtls.flight = ALL_FLIGHTS_DONE;
    this.#socket.onData.allUnsubscribe();
  }

  #onHandshakeDone(): void {
    if (this.#ended) {
      return;
    }
    this.#connected = true;
    this.#filter.setConnected();
    const profile = srtpProfileById(this.#socket.srtp.srtpProfile ?? 0);
    if (profile === undefined) {
      this.#options.onConnected(undefined);
      return;
    }
    const { masterKeyLength, masterSaltLength } = SRTP_PROFILES[profile];
    const keys: Record<'localKey' | 'localSalt' | 'remoteKey' | 'remoteSalt', Buffer> =
      this.#socket.extractSessionKeys(masterKeyLength, masterSaltLength);
    this.#options.onConnected(
      new SrtpSession({
        profile,
        local: { key: keys.localKey, salt: keys.localSalt },
        remote: { key: keys.remoteKey, salt: keys.remoteSalt },
      }),
    );
  }

  #onAlert(record: Buffer, plain: DtlsAlert | undefined): void {
    const alert = plain ?? this.#decryptAlert(record);
    if (alert === undefined) {
      return;
    }
    if (alert.level === 'fatal') {
      this.#fail(
        new ServiceError('aborted', `DTLS: the remote sent fatal alert ${alert.description}`, {
          blame: 'caller',
        }),
      );
    } else if (alert.description === CLOSE_NOTIFY && plain === undefined) {
      this.#fail(new ServiceError('aborted', 'DTLS: the remote closed the connection', { blame: 'caller' }));
    }
  }

  /** werift guesses whether an alert is encrypted; this only believes authenticated ones. */
  #decryptAlert(record: Buffer): DtlsAlert | undefined {
    if (!this.#connected) {
      return undefined;
    }
    const parsed: unknown = {
      recordLayerHeader: {
        contentType: record[0] ?? 0,
        protocolVersion: { major: record[1] ?? 0, minor: record[2] ?? 0 },
        epoch: readU16(record, 3),
        sequenceNumber: record.readUIntBE(5, 6),
        contentLen: readU16(record, 11),
      },
      fragment: record.subarray(13),
    };
    try {
      const { cipher } = this.#socket;
      const body = cipher.decryptPacket(parsed as Parameters<typeof cipher.decryptPacket>[0]);
      return { level: body[0] === 2 ? 'fatal' : 'warning', description: body[1] ?? 0 };
    } catch {
      return undefined;
    }
  }

  #fail(error: unknown): void {
    if (this.#ended) {
      return;
    }
    this.close();
    this.#options.onFailed(
      error instanceof ServiceError
        ? error
        : new ServiceError('aborted', `DTLS: ${messageOf(error) || 'the handshake failed'}`, {
            cause: error,
          }),
    );
  }
}
