import { readU16, readU24 } from '../../media/rtp/bytes.ts';

/** DTLS record layer, RFC 6347 §4.1. */
const RECORD_HEADER_LENGTH = 13;
const HANDSHAKE_HEADER_LENGTH = 12;
const CONTENT = { changeCipherSpec: 20, alert: 21, handshake: 22, applicationData: 23 } as const;
const CLIENT_HELLO = 1;
const FINISHED = 20;
const FATAL = 2;

/** Certificates are below 1 KiB, post-quantum ClientHellos below 2 KiB. */
const MAX_HANDSHAKE_MESSAGE_LENGTH = 16 * 1024;
/** A handshake takes about six datagrams a side; this leaves room for a very lossy path. */
const MAX_HANDSHAKE_DATAGRAMS = 300;
/** Each one costs a key pair (about 2 ms). */
const MAX_CLIENT_HELLOS = 40;
/** Encrypted handshake records after the handshake: retransmitted Finished, nothing else is wanted. */
const MAX_LATE_HANDSHAKE_RECORDS = 40;

export type DtlsAlert = { level: 'warning' | 'fatal'; description: number };

/**
 * Stands between the network and werift's DTLS: passes only records that make sense in the phase the connection is in.
 * Without it one forged plaintext record would reset (ClientHello) or end (alert) an established connection, and a forged
 * length would make werift allocate 16 MiB.
 */
export class DtlsRecordFilter {
  #connected = false;
  #datagrams = 0;
  #clientHellos = 0;
  #lateHandshakeRecords = 0;

  /** From here on plaintext records are dropped. */
  setConnected(): void {
    this.#connected = true;
  }

  /**
   * Calls `pass` for each acceptable record and `alert` for alerts (plain ones only before the connection stands).
   * Returns false when the datagram budget of the handshake is used up.
   */
  filter(
    datagram: Buffer,
    pass: (record: Buffer) => void,
    alert: (record: Buffer, plain: DtlsAlert | undefined) => void,
  ): boolean {
    if (!this.#connected) {
      this.#datagrams += 1;
      if (this.#datagrams > MAX_HANDSHAKE_DATAGRAMS) {
        return false;
      }
    }
    for (let offset = 0; offset + RECORD_HEADER_LENGTH <= datagram.length;) {
      const end = offset + RECORD_HEADER_LENGTH + readU16(datagram, offset + 11);
      if (end > datagram.length) {
        break;
      }
      const record = datagram.subarray(offset, end);
      offset = end;
      if (record[0] === CONTENT.alert) {
        const plain = readU16(record, 3) === 0 ? parseAlert(record) : undefined;
        if (plain === undefined || !this.#connected) {
          alert(record, plain);
        }
      } else if (this.#accepts(record)) {
        pass(record);
      }
    }
    return true;
  }

  #accepts(record: Buffer): boolean {
    const type = record[0];
    const encrypted = readU16(record, 3) > 0;
    if (encrypted) {
      if (type === CONTENT.applicationData) {
        return this.#connected;
      }
      if (type !== CONTENT.handshake) {
        return false;
      }
      this.#lateHandshakeRecords += this.#connected ? 1 : 0;
      return this.#lateHandshakeRecords <= MAX_LATE_HANDSHAKE_RECORDS;
    }
    if (this.#connected) {
      return false;
    }
    if (type === CONTENT.changeCipherSpec) {
      return true;
    }
    return type === CONTENT.handshake && this.#acceptsHandshake(record);
  }

  #acceptsHandshake(record: Buffer): boolean {
    let offset = RECORD_HEADER_LENGTH;
    while (offset + HANDSHAKE_HEADER_LENGTH <= record.length) {
      const type = record[offset];
      const length = readU24(record, offset + 1);
      const fragmentOffset = readU24(record, offset + 6);
      const fragmentLength = readU24(record, offset + 9);
      if (
        length > MAX_HANDSHAKE_MESSAGE_LENGTH ||
        fragmentOffset + fragmentLength > length ||
        offset + HANDSHAKE_HEADER_LENGTH + fragmentLength > record.length ||
        type === FINISHED
      ) {
        return false;
      }
      if (type === CLIENT_HELLO && fragmentOffset === 0) {
        this.#clientHellos += 1;
        if (this.#clientHellos > MAX_CLIENT_HELLOS) {
          return false;
        }
      }
      offset += HANDSHAKE_HEADER_LENGTH + fragmentLength;
    }
    return offset === record.length;
  }
}

function parseAlert(record: Buffer): DtlsAlert {
  return {
    level: record[RECORD_HEADER_LENGTH] === FATAL ? 'fatal' : 'warning',
    description: record[RECORD_HEADER_LENGTH + 1] ?? 0,
  };
}
