const SLOT_BYTES = 2048;
const SLOT_COUNT = 4096;

/**
 * Outgoing datagrams are written into a ring of reused slots: libuv hands a datagram to the kernel within send() unless
 * the socket's buffer is full, and then at most as many wait as the ring has room for.
 */
const ring = Buffer.allocUnsafeSlow(SLOT_BYTES * SLOT_COUNT);
const slots = Array.from({ length: SLOT_COUNT }, (_, index) =>
  ring.subarray(index * SLOT_BYTES, (index + 1) * SLOT_BYTES),
);
let next = 0;

export const MAX_DATAGRAM_BYTES = SLOT_BYTES;

/** Valid until 4096 more slots have been taken. */
export function takeSlot(): Buffer {
  next = (next + 1) & (SLOT_COUNT - 1);
  return slots[next] ?? ring;
}
