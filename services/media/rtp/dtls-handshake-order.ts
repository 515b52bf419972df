/** A piece of a handshake message (RFC 6347 §4.2.2), with werift's names. */
export type HandshakeFragment = {
  msg_type: number;
  /** Of the whole message, in bytes. */
  length: number;
  message_seq: number;
  fragment_offset: number;
  fragment_length: number;
  fragment: Buffer;
};

/** Post-quantum ClientHellos are below 2 KiB, certificates with RSA below 4 KiB. */
const MAX_MESSAGE_BYTES = 16 * 1024;
/** A flight has at most five messages. */
const MAX_MESSAGES_AHEAD = 8;
/** For everything that came too early. */
const MAX_BYTES_AHEAD = 32 * 1024;
/** ClientHello, ServerHelloDone, Finished: the last of a flight. Coming again it says that our answer was lost. */
const ANSWERED_TYPES: readonly number[] = [1, 14, 20];

type Message = { type: number; body: Buffer };
type Gathering = Message & { seen: Uint8Array; missingBytes: number };

/**
 * Makes whole handshake messages of what the network delivers and gives out each of them once and in order. Left to
 * itself werift takes messages as they come: a repeated or early one then gives it another master secret than the
 * peer's, and pieces of two ClientHellos become one.
 */
export class DtlsHandshakeOrder {
  /** RFC 6347 §4.2.2: each side's first message has number 0. */
  #next = 0;
  /** By message_seq. */
  readonly #gathering = new Map<number, Gathering>();
  #latest: Message | undefined;

  /** The messages that may be looked at now. */
  take(fragment: HandshakeFragment): HandshakeFragment[] {
    const { message_seq: sequence, msg_type: type } = fragment;
    if (sequence < this.#next) {
      const latest = this.#latest;
      const isLatest = latest?.type === type && sequence === this.#next - 1;
      return isLatest && ANSWERED_TYPES.includes(type) && fragment.fragment_offset === 0
        ? [whole(sequence, latest)]
        : [];
    }
    this.#gather(fragment);
    const ready: HandshakeFragment[] = [];
    for (;;) {
      const message = this.#gathering.get(this.#next);
      if (message === undefined || message.missingBytes > 0) {
        return ready;
      }
      this.#gathering.delete(this.#next);
      this.#latest = { type: message.type, body: message.body };
      ready.push(whole(this.#next, message));
      this.#next += 1;
    }
  }

  #gather(fragment: HandshakeFragment): void {
    const { message_seq: sequence, msg_type: type, length, fragment_offset: offset } = fragment;
    const end = offset + fragment.fragment.length;
    if (length > MAX_MESSAGE_BYTES || end > length || sequence > this.#next + MAX_MESSAGES_AHEAD) {
      return;
    }
    const message = this.#gathering.get(sequence) ?? this.#begin(sequence, type, length);
    if (message?.type !== type || message.body.length !== length) {
      return;
    }
    for (let at = offset; at < end; at += 1) {
      if (message.seen[at] === 0) {
        message.seen[at] = 1;
        message.missingBytes -= 1;
        message.body[at] = fragment.fragment[at - offset] ?? 0;
      }
    }
  }

  /** Undefined when too much waits already; the message that is waited for always has room. */
  #begin(sequence: number, type: number, length: number): Gathering | undefined {
    if (sequence > this.#next && this.#bytesAhead() + length > MAX_BYTES_AHEAD) {
      return undefined;
    }
    const message = {
      type,
      body: Buffer.alloc(length),
      seen: new Uint8Array(length),
      missingBytes: length,
    };
    this.#gathering.set(sequence, message);
    return message;
  }

  #bytesAhead(): number {
    let bytes = 0;
    for (const [sequence, { body }] of this.#gathering) {
      bytes += sequence > this.#next ? body.length : 0;
    }
    return bytes;
  }
}

function whole(sequence: number, { type, body }: Message): HandshakeFragment {
  return {
    msg_type: type,
    length: body.length,
    message_seq: sequence,
    fragment_offset: 0,
    fragment_length: body.length,
    fragment: body,
  };
}
