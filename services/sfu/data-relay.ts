/* eslint-disable @typescript-eslint/no-deprecated -- clients in the field still read and write these fields */
import { DataPacket, DataPacket_Kind } from '@livekit/protocol';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import type { DataChannel } from './media-types.ts';

export type DataReliability = 'reliable' | 'lossy';

/** Data channel labels of LiveKit clients. `_data_track` carries another format and is not relayed. */
const RELIABILITY_BY_LABEL: ReadonlyMap<string, DataReliability> = new Map([
  ['_reliable', 'reliable'],
  ['_lossy', 'lossy'],
]);

/** A receiver this far behind loses lossy packets, and its session when they are reliable. */
const MAX_BUFFERED_BYTES = { lossy: 256 * 1024, reliable: 16 * 1024 * 1024 } as const;

/** Packets a client may send to others; `speaker` comes from the server only, and nobody subscribes to metrics. */
const RELAYED = new Set<DataPacket['value']['case']>([
  'user',
  'sipDtmf',
  'transcription',
  'chatMessage',
  'rpcRequest',
  'rpcAck',
  'rpcResponse',
  'streamHeader',
  'streamChunk',
  'streamTrailer',
  'encryptedPacket',
]);

export type DataSender = { sid: string; identity: string };
export type RelayedData = { packet: DataPacket; bytes: Uint8Array; reliability: DataReliability };

/** The data channels of one participant. */
export class ParticipantData {
  readonly #channels = new Map<DataReliability, DataChannel>();
  readonly #logger: Logger;
  readonly #onPacket: (data: RelayedData) => void;
  readonly #sender: DataSender;
  readonly #onOverflow: () => void;
  #lastReliableSequence = 0;

  constructor(options: {
    sender: DataSender;
    logger: Logger;
    onPacket: (data: RelayedData) => void;
    onOverflow: () => void;
  }) {
    this.#sender = options.sender;
    this.#logger = options.logger;
    this.#onPacket = options.onPacket;
    this.#onOverflow = options.onOverflow;
  }

  /** The last reliable packet that arrived; a resuming client sends everything after it again. */
  get lastReliableSequence(): number {
    return this.#lastReliableSequence;
  }

  attach(channel: DataChannel): void {
    const reliability = RELIABILITY_BY_LABEL.get(channel.label);
    if (reliability === undefined) {
      return;
    }
    this.#channels.set(reliability, channel);
    channel.events.on('message', (bytes) => {
      this.#receive(bytes, reliability);
    });
    channel.events.on('closed', () => {
      if (this.#channels.get(reliability) === channel) {
        this.#channels.delete(reliability);
      }
    });
  }

  send(bytes: Uint8Array, reliability: DataReliability): void {
    const channel = this.#channels.get(reliability);
    if (channel?.isOpen !== true) {
      return;
    }
    if (channel.bufferedBytes + bytes.byteLength > MAX_BUFFERED_BYTES[reliability]) {
      if (reliability === 'reliable') {
        this.#onOverflow();
      }
      return;
    }
    channel.send(bytes);
  }

  #receive(bytes: Uint8Array, reliability: DataReliability): void {
    let packet: DataPacket;
    try {
      packet = DataPacket.fromBinary(bytes);
    } catch (error) {
      this.#logger.debug({ reason: messageOf(error), bytes: bytes.byteLength }, 'data packet ignored');
      return;
    }
    if (!RELAYED.has(packet.value.case) || this.#isRepeated(packet, reliability)) {
      return;
    }
    stamp(packet, this.#sender, reliability);
    this.#onPacket({ packet, bytes: packet.toBinary(), reliability });
  }

  /** A resuming client repeats what it is not sure about. */
  #isRepeated(packet: DataPacket, reliability: DataReliability): boolean {
    if (reliability === 'lossy' || packet.sequence === 0) {
      return false;
    }
    if (packet.sequence <= this.#lastReliableSequence) {
      return true;
    }
    this.#lastReliableSequence = packet.sequence;
    return false;
  }
}

/** Senders cannot pretend to be somebody else: identity and sid are always ours. */
function stamp(packet: DataPacket, sender: DataSender, reliability: DataReliability): void {
  packet.participantIdentity = sender.identity;
  packet.participantSid = sender.sid;
  packet.kind = reliability === 'lossy' ? DataPacket_Kind.LOSSY : DataPacket_Kind.RELIABLE;
  if (packet.value.case === 'user') {
    const user = packet.value.value;
    user.participantIdentity = sender.identity;
    user.participantSid = sender.sid;
    if (packet.destinationIdentities.length === 0) {
      packet.destinationIdentities = [...user.destinationIdentities];
    }
  }
}

/** Whether a packet is meant for this participant. Older clients address by sid inside the user packet. */
export function isAddressedTo(packet: DataPacket, receiver: DataSender): boolean {
  const sids = packet.value.case === 'user' ? packet.value.value.destinationSids : [];
  if (packet.destinationIdentities.length === 0 && sids.length === 0) {
    return true;
  }
  return packet.destinationIdentities.includes(receiver.identity) || sids.includes(receiver.sid);
}
