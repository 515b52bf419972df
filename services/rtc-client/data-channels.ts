import { Event, RTCDataChannel, RTCDataChannelParameters, RTCSctpTransport } from 'werift';
import type { Logger } from '../base/logger.ts';
import type { DtlsSession } from './dtls-session.ts';

type WeriftDtlsTransport = Parameters<RTCSctpTransport['setDtlsTransport']>[0];

export const SCTP_PORT = 5000;
export const MAX_MESSAGE_BYTES = 262_144;

/** LiveKit's channels. Even ids: RFC 8832 §6 gives them to the DTLS client. */
const CHANNELS = [
  { label: '_reliable', id: 0, ordered: true },
  { label: '_lossy', id: 2, ordered: false, maxRetransmits: 0 },
] as const;

/** SCTP over one DTLS session with the two channels the client opens. */
export class DataChannels {
  onMessage: (label: string, data: Uint8Array) => void = () => undefined;
  readonly #sctp = new RTCSctpTransport(SCTP_PORT, MAX_MESSAGE_BYTES);
  readonly #logger: Logger;
  readonly #stateChange = new Event<[string]>();

  constructor(options: { dtls: DtlsSession; logger: Logger }) {
    this.#logger = options.logger;
    const { dtls } = options;
    // What werift's SCTP needs of a DTLS transport. The DTLS client starts the association, so it has to look
    // "controlling" here: that is how werift tells the roles apart.
    const bridge = {
      id: 'room-client',
      state: 'connected',
      onStateChange: this.#stateChange,
      dataReceiver: (_data: Buffer): void => undefined,
      sendData: (data: Buffer) => dtls.send(data),
      iceTransport: { role: dtls.role === 'client' ? 'controlling' : 'controlled' },
    };
    this.#sctp.setDtlsTransport(bridge as unknown as WeriftDtlsTransport);
    this.#sctp.setRemoteMaxMessageSize(MAX_MESSAGE_BYTES);
    dtls.onApplicationData = (data) => bridge.dataReceiver(data);
    for (const { label, ...parameters } of CHANNELS) {
      const channel = new RTCDataChannel(
        this.#sctp,
        new RTCDataChannelParameters({ label, protocol: '', negotiated: false, ...parameters }),
      );
      channel.onMessage.subscribe((message) => {
        if (Buffer.isBuffer(message)) {
          this.onMessage(label, message);
        }
      });
    }
  }

  start(): void {
    this.#sctp.start(SCTP_PORT).catch((error: unknown) => {
      this.#logger.warn({ err: error }, 'data channels could not be opened');
    });
  }

  async close(): Promise<void> {
    try {
      await this.#sctp.stop();
    } catch (error) {
      this.#logger.debug({ err: error }, 'closing SCTP failed');
    }
    this.#stateChange.execute('closed');
  }
}
