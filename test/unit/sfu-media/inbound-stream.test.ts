import { expect, test } from 'vitest';
import { InboundStream } from '../../../services/sfu/forwarding/inbound-stream.ts';

const HISTORY = 512;

function createStream(): InboundStream {
  return new InboundStream({
    ...{ ssrc: 1, role: { kind: 'media', layer: 0, rid: '' } },
    ...{ clockRateHz: 90_000, nack: true },
  });
}

/** Different for each packet, and its length too. */
function payload(sequence: number): Buffer {
  return Buffer.alloc((sequence * 37) % 1_300, sequence & 0xff);
}

test('payloads are kept as they came, in memory that is used again for later ones', () => {
  const stream = createStream();
  const received = Buffer.alloc(1_500);
  const descriptor = Buffer.alloc(3);
  const first = 65_536;
  const count = 5 * HISTORY;
  for (let sequence = first; sequence < first + count; sequence += 1) {
    const packet = payload(sequence);
    packet.copy(received);
    descriptor.fill(sequence & 0xff);
    const own = received.subarray(0, packet.length);
    expect(stream.store(sequence, sequence, true, own, descriptor)).toBe(true);
    expect(stream.store(sequence, sequence, true, own, descriptor)).toBe(false);
    // The receiver goes on using its memory.
    received.fill(0xee);
    descriptor.fill(0xee);
    const oldest = Math.max(first, sequence - HISTORY + 1);
    expect(stream.payloadOf(oldest)?.equals(payload(oldest))).toBe(true);
    expect(stream.payloadOf(sequence)?.equals(packet)).toBe(true);
    expect(stream.descriptorOf(oldest)).toEqual(Buffer.alloc(3, oldest & 0xff));
  }
  expect(stream.payloadOf(first + count - HISTORY - 1)).toBeUndefined();
});
