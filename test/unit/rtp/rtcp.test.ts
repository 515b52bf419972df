import { describe, expect, it } from 'vitest';
import { parseRtcp, type RtcpPacket } from '../../../services/media/rtp/rtcp.ts';
import {
  buildBye,
  buildFir,
  buildNack,
  buildPli,
  buildReceiverReport,
  buildRemb,
  buildSdes,
  buildSenderReport,
} from '../../../services/media/rtp/rtcp-build.ts';
import {
  buildTransportFeedback,
  encodeChunks,
  NOT_RECEIVED,
  type Arrival,
} from '../../../services/media/rtp/transport-feedback.ts';
import { seededRandom } from './seeded-random.ts';

const REPORT = {
  ssrc: 7,
  fractionLost: 12,
  cumulativeLost: -3,
  highestSequence: 0xfffe_0001,
  jitter: 90,
  lastSenderReport: 0xdead_beef,
  delaySinceLastSenderReport: 65_536,
};

describe('compound packets', () => {
  it('reads back every type it writes', () => {
    const senderReport = {
      ssrc: 0xffff_ffff,
      ntpSeconds: 0xe000_0000,
      ntpFraction: 0x8000_0000,
      rtpTimestamp: 0xffff_fff0,
      packetCount: 5,
      octetCount: 6,
      reports: [REPORT],
    };
    const compound = Buffer.concat([
      buildSenderReport(senderReport),
      buildReceiverReport(2, [REPORT, { ...REPORT, ssrc: 8 }]),
      buildSdes(3, 'näme'),
      buildNack(4, 5, [65_534, 65_535, 0, 1, 40]),
      buildPli(4, 5),
      buildFir(4, 5, 9),
      buildRemb(4, 2_500_000, [5, 6]),
      buildBye([4, 5]),
    ]);
    const expected: RtcpPacket[] = [
      { type: 'sr', ...senderReport },
      { type: 'rr', ssrc: 2, reports: [REPORT, { ...REPORT, ssrc: 8 }] },
      { type: 'sdes', chunks: [{ ssrc: 3, cname: 'näme' }] },
      { type: 'nack', senderSsrc: 4, mediaSsrc: 5, sequenceNumbers: [65_534, 65_535, 0, 1, 40] },
      { type: 'pli', senderSsrc: 4, mediaSsrc: 5 },
      { type: 'fir', senderSsrc: 4, entries: [{ ssrc: 5, sequenceNumber: 9 }] },
      { type: 'remb', senderSsrc: 4, bitrateBps: 2_500_000, ssrcs: [5, 6] },
      { type: 'bye', ssrcs: [4, 5] },
    ];
    expect(parseRtcp(compound)).toEqual(expected);
  });

  it('skips what it does not know and keeps what came before a malformed part', () => {
    const unknown = Buffer.from('80cc0001deadbeef', 'hex');
    const cut = buildReceiverReport(1, [REPORT]).subarray(0, 20);
    expect(parseRtcp(Buffer.concat([buildPli(1, 2), unknown, buildPli(3, 4), cut]))).toEqual([
      { type: 'pli', senderSsrc: 1, mediaSsrc: 2 },
      { type: 'pli', senderSsrc: 3, mediaSsrc: 4 },
    ]);
  });

  it('never throws, whatever bytes come', () => {
    const random = seededRandom(3);
    const seeds = [
      buildSenderReport({
        ssrc: 1,
        ntpSeconds: 1,
        ntpFraction: 1,
        rtpTimestamp: 1,
        packetCount: 1,
        octetCount: 1,
        reports: [REPORT, REPORT],
      }),
      buildSdes(1, 'someone'),
      buildNack(1, 2, [1, 5, 9]),
      buildRemb(1, 5e6, [1, 2, 3]),
      feedbackOf([
        { sequence: 100, arrivalUs: 1_000_000 },
        { sequence: 130, arrivalUs: 1_900_000 },
      ]),
    ];
    for (let round = 0; round < 5000; round += 1) {
      const seed = seeds[round % seeds.length] ?? Buffer.alloc(0);
      const bytes = Buffer.from(seed.subarray(0, Math.ceil(random() * seed.length)));
      for (let flips = 0; flips < 4; flips += 1) {
        bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
      }
      expect(() => parseRtcp(bytes)).not.toThrow();
    }
  });
});

function feedbackOf(arrivals: readonly Arrival[], baseSequence = arrivals[0]?.sequence ?? 0): Buffer {
  const built = buildTransportFeedback(arrivals, {
    senderSsrc: 1,
    mediaSsrc: 2,
    baseSequence,
    feedbackCount: 3,
  });
  expect(built?.consumed).toBe(arrivals.length);
  return built?.packet ?? Buffer.alloc(0);
}

/** Arrival times in microseconds by sequence number, as the sender's estimator would see them. */
function timesOf(packet: Buffer): Map<number, number> {
  const [parsed] = parseRtcp(packet);
  if (parsed?.type !== 'transport-cc') {
    throw new Error('no transport-cc feedback');
  }
  const times = new Map<number, number>();
  let timeUs = parsed.referenceTime * 64_000;
  parsed.deltas.forEach((delta, index) => {
    if (delta !== NOT_RECEIVED) {
      timeUs += delta * 250;
      times.set((parsed.baseSequence + index) & 0xffff, timeUs);
    }
  });
  return times;
}

describe('transport-wide feedback', () => {
  it.each([
    ['an even stream', 1, 0],
    ['a lossy stream', 0.6, 0],
    ['jitter and reordering across a wrap', 0.9, 40_000],
    ['mostly loss', 0.05, 5_000],
  ])('tells the sender when each packet of %s arrived', (_name, kept, jitterUs) => {
    const random = seededRandom(5);
    const arrivals: Arrival[] = [];
    for (let sequence = 65_400; sequence < 65_700; sequence += 1) {
      if (sequence === 65_400 || random() < kept) {
        arrivals.push({
          sequence,
          arrivalUs: 5_000_000_000 + (sequence - 65_400) * 3_000 + Math.floor(random() * jitterUs),
        });
      }
    }
    const times = timesOf(feedbackOf(arrivals));
    expect(times.size).toBe(arrivals.length);
    for (const { sequence, arrivalUs } of arrivals) {
      const told = times.get(sequence & 0xffff) ?? 0;
      expect(Math.abs(told - (arrivalUs % (0x100_0000 * 64_000)))).toBeLessThanOrEqual(125);
    }
  });

  it('splits what does not fit a 16-bit delta', () => {
    const arrivals = [
      { sequence: 1, arrivalUs: 0 },
      { sequence: 2, arrivalUs: 60_000_000 },
    ];
    const built = buildTransportFeedback(arrivals, {
      senderSsrc: 1,
      mediaSsrc: 2,
      baseSequence: 1,
      feedbackCount: 0,
    });
    expect(built).toMatchObject({ consumed: 1, nextSequence: 2 });
  });

  it('uses the chunk form that fits: runs, one-bit and two-bit vectors', () => {
    expect(encodeChunks(new Array<number>(100).fill(1))).toEqual([0x2000 | 100]);
    expect(encodeChunks(new Array<number>(9000).fill(0))).toEqual([0x1fff, 9000 - 0x1fff]);
    expect(encodeChunks([1, 0, 1, 1, 0, 1, 0, 1, 1, 1, 0, 0, 1, 1])).toEqual([0xac00 | 0x173]);
    expect(encodeChunks([2, 0, 1, 2, 0, 1, 1])).toEqual([0xc000 | 0x2185]);
  });
});
