import type { RtpPayload } from '../../../services/media/packetize/packetizer-types.ts';

/** Payloads as they are on the wire. */
export function wire(payloads: readonly RtpPayload[]): Uint8Array[] {
  return payloads.map(({ head, body }) => new Uint8Array([...head, ...body]));
}

/** Deterministic numbers in 0…1 (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export function randomBytesOf(random: () => number, maxLength: number): Uint8Array {
  return Uint8Array.from({ length: Math.floor(random() * maxLength) }, () => Math.floor(random() * 256));
}
