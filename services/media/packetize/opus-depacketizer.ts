import type { AssembledFrame, Depacketizer } from './depacketizer-types.ts';

/** RFC 7587: one packet, one Opus packet. */
export class OpusDepacketizer implements Depacketizer {
  readonly framePerPacket = true;

  isFrameStart(): boolean {
    return true;
  }

  assemble(payloads: readonly Uint8Array[]): AssembledFrame | 'empty' | undefined {
    const [data] = payloads;
    if (data === undefined || payloads.length !== 1) {
      return undefined;
    }
    return data.length === 0 ? 'empty' : { data, key: true };
  }
}
