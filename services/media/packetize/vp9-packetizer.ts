import { randomInt } from 'node:crypto';
import { splitEvenly, type Packetizer, type RtpPayload } from './packetizer-types.ts';

const DESCRIPTOR_LENGTH = 3;

/** RFC 9628 in non-flexible mode with a 15-bit picture id and one spatial layer. */
export class Vp9Packetizer implements Packetizer {
  #pictureId = randomInt(0x8000);

  packetize(frame: Uint8Array, options: { key: boolean; maxPayloadLength: number }): RtpPayload[] {
    if (frame.length === 0) {
      return [];
    }
    const pictureId = this.#pictureId;
    this.#pictureId = (pictureId + 1) & 0x7fff;
    const pieces = splitEvenly(frame, options.maxPayloadLength - DESCRIPTOR_LENGTH);
    return pieces.map((body, index) => {
      const predicted = options.key ? 0 : 0x40;
      const begin = index === 0 ? 0x08 : 0;
      const end = index === pieces.length - 1 ? 0x04 : 0;
      return {
        head: Uint8Array.of(0x80 | predicted | begin | end, 0x80 | (pictureId >>> 8), pictureId & 0xff),
        body,
      };
    });
  }
}
