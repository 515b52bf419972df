import { RTCDataChannel, RTCDataChannelParameters, RTCSctpTransport } from 'werift';
import { ServiceError } from '../../base/errors.ts';
import { SafeEmitter } from '../../base/events.ts';
import type { Logger } from '../../base/logger.ts';
import type { DataChannel, DataChannelEvents } from '../media-types.ts';

const SCTP_PORT = 5000;
/** What browsers and libwebrtc accept in one message. */
const MAX_MESSAGE_LENGTH = 262_144;
const MAX_CHANNELS = 16;
/** A receiver that lags this far behind loses messages instead of filling our memory. */
const MAX_BUFFERED_RELIABLE = 16 * 1024 * 1024;
const MAX_BUFFERED_LOSSY = 1024 * 1024;
/** How far below zero the receive window may go before the remote counts as hostile. */
const MAX_WINDOW_OVERRUN = 1024 * 1024;
const MAX_OUT_OF_ORDER_CHUNKS = 4096;

/** Data Channel Establishment Protocol, RFC 8832. */
const DCEP_PPID = 50;
const DCEP_OPEN = 3;
const UNORDERED = 0x80;
const PARTIAL_RELIABLE_RETRANSMITS = 1;

/** The parts of werift's transport that are private but needed to keep its faults from spreading. */
type SctpInternals = {
  datachannelReceive: (streamId: number, protocol: number, data: Buffer) => Promise<void>;
  dataChannelQueue: [RTCDataChannel, number, Buffer][];
  dataChannelFlush: () => Promise<void>;
  dataChannelId: number;
  sctp: {
    handleData: (data: Buffer) => Promise<void>;
    advertisedRwnd: number;
    sackMisOrdered: Set<number>;
  };
};

export type SctpAssociationOptions = {
  /** Decides who uses even stream ids: the DTLS client (RFC 8832 §6). */
  dtlsRole: 'server' | 'client';
  send: (data: Buffer) => void;
  onChannel: (channel: DataChannel) => void;
  logger: Logger;
};

/** SCTP over DTLS with data channels, by werift; errors from malformed input end here. */
export class SctpAssociation {
  readonly #options: SctpAssociationOptions;
  readonly #transport: RTCSctpTransport;
  readonly #internals: SctpInternals;
  readonly #channels = new Set<SctpDataChannel>();
  #stopped = false;

  constructor(options: SctpAssociationOptions) {
    this.#options = options;
    this.#transport = new RTCSctpTransport(SCTP_PORT, MAX_MESSAGE_LENGTH);
    this.#transport.setRemoteMaxMessageSize(MAX_MESSAGE_LENGTH);
    this.#internals = this.#transport as unknown as SctpInternals;
    const deliver = this.#internals.datachannelReceive;
    // werift calls this without awaiting it: a rejection (unknown protocol id) would end the process.
    this.#internals.datachannelReceive = async (streamId, protocol, data) => {
      try {
        await deliver(streamId, protocol, data);
      } catch (error) {
        options.logger.debug({ err: error, streamId }, 'data channel message refused');
      }
    };
    this.#transport.setDtlsTransport({
      id: 'sluice',
      state: 'connected',
      // The remote sends INIT: werift takes the controlled side for the SCTP server.
      iceTransport: { role: 'controlled' },
      onStateChange: { subscribe: () => ({ unSubscribe: () => undefined }) },
      dataReceiver: () => undefined,
      sendData: (data: Buffer): Promise<void> => {
        options.send(data);
        return Promise.resolve();
      },
    } as unknown as Parameters<RTCSctpTransport['setDtlsTransport']>[0]);
    this.#transport.onDataChannel.subscribe((channel) => this.#accept(channel));
  }

  /** Waits for the remote's INIT. */
  start(): void {
    this.#transport.start(SCTP_PORT).catch((error: unknown) => {
      this.#options.logger.warn({ err: error }, 'SCTP did not start');
    });
    this.#internals.dataChannelId = this.#options.dtlsRole === 'server' ? 1 : 0;
  }

  receive(data: Buffer): void {
    if (this.#stopped) {
      return;
    }
    this.#internals.sctp.handleData(data).catch((error: unknown) => {
      this.#options.logger.debug({ err: error }, 'SCTP packet refused');
    });
    const { advertisedRwnd, sackMisOrdered } = this.#internals.sctp;
    if (advertisedRwnd < -MAX_WINDOW_OVERRUN || sackMisOrdered.size > MAX_OUT_OF_ORDER_CHUNKS) {
      this.#options.logger.warn('SCTP association ended: the remote ignores our receive window');
      this.stop();
    }
  }

  open(label: string, options: { ordered: boolean; maxRetransmits?: number }): DataChannel {
    const inner = new RTCDataChannel(
      this.#transport,
      new RTCDataChannelParameters({
        label,
        ordered: options.ordered,
        ...(options.maxRetransmits === undefined ? {} : { maxRetransmits: options.maxRetransmits }),
      }),
      false,
    );
    // werift's own OPEN loses the "unordered" bit when maxRetransmits is set, so the message is written here.
    this.#internals.dataChannelQueue.push([inner, DCEP_PPID, openMessage(label, options)]);
    this.#internals.dataChannelFlush().catch((error: unknown) => {
      this.#options.logger.debug({ err: error, label }, 'data channel did not open');
    });
    return this.#wrap(inner);
  }

  stop(): void {
    if (this.#stopped) {
      return;
    }
    this.#stopped = true;
    this.#transport.stop().catch((error: unknown) => {
      this.#options.logger.debug({ err: error }, 'SCTP did not stop cleanly');
    });
    for (const channel of this.#channels) {
      channel.onClosed();
    }
    this.#channels.clear();
  }

  #accept(inner: RTCDataChannel): void {
    if (this.#channels.size >= MAX_CHANNELS) {
      this.#options.logger.warn({ label: inner.label }, 'data channel refused: too many');
      inner.close();
      return;
    }
    this.#options.onChannel(this.#wrap(inner));
  }

  #wrap(inner: RTCDataChannel): SctpDataChannel {
    const channel = new SctpDataChannel(inner, this.#options.logger);
    this.#channels.add(channel);
    channel.events.once('closed', () => this.#channels.delete(channel));
    return channel;
  }
}

class SctpDataChannel implements DataChannel {
  readonly events: SafeEmitter<DataChannelEvents>;
  readonly #inner: RTCDataChannel;
  readonly #logger: Logger;
  #closed = false;
  #dropping = false;

  constructor(inner: RTCDataChannel, logger: Logger) {
    this.#inner = inner;
    this.#logger = logger;
    this.events = new SafeEmitter(logger);
    inner.onMessage.subscribe((message) => {
      this.events.emit('message', typeof message === 'string' ? Buffer.from(message) : message);
    });
    inner.stateChanged.subscribe((state) => {
      if (state === 'open') {
        this.events.emit('open', undefined);
      } else if (state === 'closed') {
        this.onClosed();
      }
    });
  }

  get label(): string {
    return this.#inner.label;
  }

  get isOpen(): boolean {
    return !this.#closed && this.#inner.readyState === 'open';
  }

  get bufferedBytes(): number {
    return this.#inner.bufferedAmount;
  }

  send(data: Uint8Array): void {
    if (data.length > MAX_MESSAGE_LENGTH) {
      throw new ServiceError(
        'out_of_range',
        `data channel ${this.label}: a message of ${data.length} bytes exceeds ${MAX_MESSAGE_LENGTH}`,
      );
    }
    if (this.#closed) {
      return;
    }
    const limit = this.#inner.maxRetransmits === null ? MAX_BUFFERED_RELIABLE : MAX_BUFFERED_LOSSY;
    if (this.bufferedBytes + data.length > limit) {
      if (!this.#dropping) {
        this.#logger.warn({ label: this.label }, 'data channel is congested, messages are dropped');
      }
      this.#dropping = true;
      return;
    }
    this.#dropping = false;
    this.#inner.send(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
  }

  onClosed(): void {
    if (!this.#closed) {
      this.#closed = true;
      this.events.emit('closed', undefined);
    }
  }
}

/** RFC 8832 §5.1. */
function openMessage(label: string, options: { ordered: boolean; maxRetransmits?: number }): Buffer {
  const name = Buffer.from(label, 'utf8');
  const message = Buffer.alloc(12 + name.length);
  message[0] = DCEP_OPEN;
  message[1] =
    (options.ordered ? 0 : UNORDERED) |
    (options.maxRetransmits === undefined ? 0 : PARTIAL_RELIABLE_RETRANSMITS);
  message.writeUInt32BE(options.maxRetransmits ?? 0, 4);
  message.writeUInt16BE(name.length, 8);
  name.copy(message, 12);
  return message;
}
