/**
 * One RTP payload as two parts, so that a packetizer never copies the coded frame: the payload on the wire is
 * `head` followed by `body`.
 */
export type RtpPayload = { head: Uint8Array; body: Uint8Array };

/** Splits coded frames into RTP payloads. The last payload of a frame carries the marker bit. */
export type Packetizer = {
  /**
   * `frame` is one access unit (Annex B for H.264) or one audio frame. An empty result means there is nothing to
   * send. `maxPayloadLength` counts head and body.
   */
  packetize(frame: Uint8Array, options: { key: boolean; maxPayloadLength: number }): RtpPayload[];
};

export const NO_HEAD = new Uint8Array(0);

/** Cuts `bytes` into the fewest pieces of at most `maxLength`, of nearly equal size (no tiny last packet). */
export function splitEvenly(bytes: Uint8Array, maxLength: number): Uint8Array[] {
  const count = Math.max(1, Math.ceil(bytes.length / Math.max(1, maxLength)));
  const pieces: Uint8Array[] = [];
  for (let index = 0; index < count; index += 1) {
    const start = Math.floor((bytes.length * index) / count);
    const end = Math.floor((bytes.length * (index + 1)) / count);
    pieces.push(bytes.subarray(start, end));
  }
  return pieces;
}
