import type { SrtpSender } from '../../media/rtp/srtp-sender.ts';

/** The receiver's transport as the forwarder sees it. */
export type ForwarderOutlet = {
  /** Undefined until DTLS is done. */
  readonly srtpSender: SrtpSender | undefined;
  /** The receiver gets its media in bursts. */
  readonly batches: boolean;
  /** Now, or with the next burst. */
  sendMedia: (datagram: Buffer, nowMs: number) => void;
  sendUrgent: (datagram: Buffer) => void;
  /** The next tick shall come soon. */
  hurry: () => void;
  /** Bound: it is handed on as a function. */
  readonly nextTransportSequence: () => number;
};
