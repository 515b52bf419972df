/* eslint-disable @typescript-eslint/no-deprecated -- older servers fill only the inner field */
import { DataPacket } from '@livekit/protocol';

export type UserMessage = { payload: Uint8Array; topic: string; fromIdentity: string };

/** Senders whose last sequence number is remembered. */
const MAX_SENDERS = 4096;

/** Reads what arrives on the data channels; repeats of reliable messages after a resume are dropped. */
export class DataMessages {
  readonly #lastSequence = new Map<string, number>();

  /** Undefined when it is not a user message, a repeat or unreadable. */
  read(bytes: Uint8Array): UserMessage | undefined {
    let packet: DataPacket;
    try {
      packet = DataPacket.fromBinary(bytes);
    } catch {
      return undefined;
    }
    if (packet.sequence > 0 && packet.participantSid !== '') {
      if (packet.sequence <= (this.#lastSequence.get(packet.participantSid) ?? 0)) {
        return undefined;
      }
      if (this.#lastSequence.size >= MAX_SENDERS) {
        this.#lastSequence.clear();
      }
      this.#lastSequence.set(packet.participantSid, packet.sequence);
    }
    if (packet.value.case !== 'user') {
      return undefined;
    }
    const user = packet.value.value;
    return {
      payload: user.payload,
      topic: user.topic ?? '',
      fromIdentity: packet.participantIdentity || user.participantIdentity,
    };
  }
}
