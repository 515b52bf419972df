import { NO_HEAD, type Packetizer, type RtpPayload } from './packetizer-types.ts';

/** RFC 7587 §4.2: the payload is the Opus packet, which is never fragmented. */
export class OpusPacketizer implements Packetizer {
  packetize(frame: Uint8Array): RtpPayload[] {
    return frame.length === 0 ? [] : [{ head: NO_HEAD, body: frame }];
  }
}
