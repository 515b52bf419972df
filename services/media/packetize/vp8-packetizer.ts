import { randomInt } from 'node:crypto';
import { splitEvenly, type Packetizer, type RtpPayload } from './packetizer-types.ts';

const DESCRIPTOR_LENGTH = 4;

/** RFC 7741 with a 15-bit PictureID, one partition per frame. */
export class Vp8Packetizer implements Packetizer {
  #pictureId = randomInt(0x8000);

  packetize(frame: Uint8Array, options: { maxPayloadLength: number }): RtpPayload[] {
    if (frame.length === 0) {
      return [];
    }
    const pictureId = this.#pictureId;
    this.#pictureId = (pictureId + 1) & 0x7fff;
    return splitEvenly(frame, options.maxPayloadLength - DESCRIPTOR_LENGTH).map((body, index) => ({
      // X=1 and S on the first packet, I=1, then M=1 and the PictureID.
      head: Uint8Array.of(index === 0 ? 0x90 : 0x80, 0x80, 0x80 | (pictureId >>> 8), pictureId & 0xff),
      body,
    }));
  }
}
