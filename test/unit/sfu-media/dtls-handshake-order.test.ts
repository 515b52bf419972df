import { describe, expect, it } from 'vitest';
import {
  DtlsHandshakeOrder,
  type HandshakeFragment,
} from '../../../services/media/rtp/dtls-handshake-order.ts';
import { seededRandom } from '../rtp/seeded-random.ts';

const CLIENT_HELLO = 1;
const CERTIFICATE = 11;
const KEY_EXCHANGE = 16;

function body(length: number, seed: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => (i * 7 + seed) & 0xff));
}

function piece(
  type: number,
  sequence: number,
  whole: Buffer,
  from = 0,
  to = whole.length,
): HandshakeFragment {
  return {
    msg_type: type,
    length: whole.length,
    message_seq: sequence,
    fragment_offset: from,
    fragment_length: to - from,
    fragment: whole.subarray(from, to),
  };
}

describe('order of DTLS handshake messages', () => {
  it('gives out whole messages once and in order, whatever the network does to their pieces', () => {
    const random = seededRandom(11);
    for (let round = 0; round < 100; round += 1) {
      const messages = Array.from({ length: 5 }, (_, i) =>
        piece(CERTIFICATE, i, body(Math.floor(random() * 600), i)),
      );
      const pieces = messages.flatMap((message) => {
        const cut = Math.floor(random() * (message.length + 1));
        const from = Math.floor(random() * (cut + 1));
        const { msg_type: type, message_seq: sequence, fragment } = message;
        // Pieces may overlap: a retransmission may be cut in another way.
        return [
          piece(type, sequence, fragment, 0, cut),
          piece(type, sequence, fragment, from),
          piece(type, sequence, fragment, 0, cut),
        ];
      });
      pieces.sort(() => random() - 0.5);
      const order = new DtlsHandshakeOrder();
      expect(pieces.flatMap((one) => order.take(one))).toEqual(messages);
    }
  });

  it('does not mix the pieces of two ClientHellos', () => {
    const [first, second] = [body(1500, 1), body(1520, 2)];
    const order = new DtlsHandshakeOrder();
    order.take(piece(CLIENT_HELLO, 0, first));
    expect(order.take(piece(CLIENT_HELLO, 0, first, 1200))).toEqual([]);
    expect(order.take(piece(CLIENT_HELLO, 1, second, 0, 1200))).toEqual([]);
    expect(order.take(piece(CLIENT_HELLO, 0, first, 0, 1200))).toEqual([piece(CLIENT_HELLO, 0, first)]);
    expect(order.take(piece(CLIENT_HELLO, 1, second, 1200))).toEqual([piece(CLIENT_HELLO, 1, second)]);
    expect(order.take(piece(CLIENT_HELLO, 0, first))).toEqual([]);
  });

  it('repeats only the end of a flight, which asks for our answer again', () => {
    const order = new DtlsHandshakeOrder();
    const hello = piece(CLIENT_HELLO, 0, body(200, 1));
    const key = piece(KEY_EXCHANGE, 1, body(70, 2));
    expect([order.take(hello), order.take(hello)]).toEqual([[hello], [hello]]);
    expect([order.take(key), order.take(key), order.take(hello)]).toEqual([[key], [], []]);
  });

  it('keeps little of what comes too early, and never refuses what it waits for', () => {
    const order = new DtlsHandshakeOrder();
    const large = body(16 * 1024, 3);
    expect(order.take(piece(CERTIFICATE, 0, body(16 * 1024 + 1, 3)))).toEqual([]);
    for (let sequence = 1; sequence < 400; sequence += 1) {
      expect(order.take(piece(CERTIFICATE, sequence, large, 0, 1))).toEqual([]);
    }
    for (const sequence of [1, 2, 3, 9]) {
      order.take(piece(CERTIFICATE, sequence, large));
    }
    // Two fit into the budget; the rest has to come again.
    const given = order.take(piece(CERTIFICATE, 0, large));
    expect(given.map(({ message_seq: sequence }) => sequence)).toEqual([0, 1, 2]);
    expect(given.every(({ fragment }) => fragment.equals(large))).toBe(true);
  });

  it('leaves out pieces that do not fit their message', () => {
    const order = new DtlsHandshakeOrder();
    const message = body(40, 4);
    order.take(piece(CERTIFICATE, 0, message, 0, 20));
    expect(order.take({ ...piece(CERTIFICATE, 0, message, 20), fragment_offset: 30 })).toEqual([]);
    expect(order.take(piece(KEY_EXCHANGE, 0, message, 20))).toEqual([]);
    expect(order.take(piece(CERTIFICATE, 0, body(41, 4), 20))).toEqual([]);
    expect(order.take(piece(CERTIFICATE, 0, message, 20))).toEqual([piece(CERTIFICATE, 0, message)]);
  });
});
