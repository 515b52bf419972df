import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { monotonicUs } from '../../../services/base/clock.ts';
import { splitAnnexB, joinAnnexB } from '../../../services/media/codecs/h264.ts';
import { createPacketizer } from '../../../services/media/packetize/packetizer.ts';
import { readU16 } from '../../../services/media/rtp/bytes.ts';
import { nowNtpUs, ntpFraction, ntpSeconds } from '../../../services/media/rtp/ntp.ts';
import { parseRtcp, type SenderReport } from '../../../services/media/rtp/rtcp.ts';
import {
  rtpHeaderLength,
  rtpPayloadType,
  rtpSequenceNumber,
  rtpSsrc,
} from '../../../services/media/rtp/rtp-header.ts';
import { PublisherClock } from '../../../services/media/timing/publisher-clock.ts';
import { Pacer } from '../../../services/rtc-client/pacer.ts';
import { ReceiveStream } from '../../../services/rtc-client/receive-stream.ts';
import { MAX_PAYLOAD_LENGTH, SendStream } from '../../../services/rtc-client/send-stream.ts';
import { seededRandom } from '../packetize/payloads.ts';

const MEDIA_SSRC = 0x1111;
const RTX_SSRC = 0x2222;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

const SPS = Uint8Array.of(0x67, 0x42, 0xe0, 0x1f, 0xda, 0x01, 0x40, 0x16);
const PPS = Uint8Array.of(0x68, 0xce, 0x3c, 0x80);

function accessUnit(index: number, key: boolean, length: number): Uint8Array {
  const slice = new Uint8Array(length).fill((index % 200) + 3);
  slice[0] = key ? 0x65 : 0x41;
  slice[1] = 0x88;
  return joinAnnexB(key ? [SPS, PPS, slice] : [slice]);
}

type LinkOptions = {
  rtx?: boolean;
  nack?: boolean;
  /** true = this packet does not arrive. */
  drops?: (packet: Buffer) => boolean;
  delayMs?: (packet: Buffer) => number;
  firstSequenceNumber?: number;
};

/** A sender and a receiver with a network between them that has its faults; all timers are fake. */
function link(options: LinkOptions = {}) {
  const {
    rtx = true,
    nack = true,
    drops = () => false,
    delayMs = () => 5,
    firstSequenceNumber = 100,
  } = options;
  const packetizer = createPacketizer('h264');
  const sent: Buffer[] = [];
  const received: { data: Uint8Array; ptsUs: number }[] = [];
  const state = { lost: 0, plis: 0 };
  let transportSequence = 0;
  const sender = new SendStream({
    kind: 'video',
    ssrc: MEDIA_SSRC,
    rtxSsrc: rtx ? RTX_SSRC : 0,
    payloadType: 125,
    rtxPayloadType: rtx ? 107 : 0,
    mid: '1',
    cname: 'c',
    extensions: { mid: 4, transportCc: 3, absSendTime: 0, rid: 0, repairedRid: 0 },
    rid: '',
    nextTransportSequence: () => (transportSequence += 1) & 0xffff,
    sendRtp: (packet) => {
      const copy = Buffer.from(packet);
      sent.push(copy);
      if (!drops(copy)) {
        setTimeout(() => arrive(copy), delayMs(copy));
      }
    },
    pacer: new Pacer(),
    firstSequenceNumber,
  });
  const receiver = new ReceiveStream({
    kind: 'video',
    codec: 'h264',
    ssrc: MEDIA_SSRC,
    clockRateHz: 90_000,
    nack,
    mediaBatchMs: 0,
    localSsrc: 9,
    clock: new PublisherClock(),
    roundTripMs: () => 10,
    sendRtcp: (compound) => {
      setTimeout(() => {
        for (const packet of parseRtcp(compound)) {
          if (packet.type === 'nack') {
            expect(packet.mediaSsrc).toBe(MEDIA_SSRC);
            sender.onNack(packet.sequenceNumbers);
          } else if (packet.type === 'pli') {
            state.plis += 1;
          }
        }
      }, 5);
    },
    onFrame: (frame) => received.push(frame),
    onLost: (packets) => {
      state.lost += packets;
    },
    serverFrameTrailer: new Uint8Array(0),
  });
  const arrive = (packet: Buffer): void => {
    const payload = Buffer.from(packet.subarray(rtpHeaderLength(packet)));
    if (rtpSsrc(packet) === RTX_SSRC) {
      receiver.onRtxPacket(packet, payload, monotonicUs());
    } else {
      receiver.onPacket(packet, payload, monotonicUs());
    }
  };
  const frames: Uint8Array[] = [];
  const play = async (count: number, sizeOf: (index: number) => number): Promise<void> => {
    for (let index = 0; index < count; index += 1) {
      const key = index % 30 === 0;
      const data = accessUnit(index, key, sizeOf(index));
      frames.push(data);
      const payloads = packetizer.packetize(data, { key, maxPayloadLength: MAX_PAYLOAD_LENGTH });
      sender.sendFrame(payloads, index * 3000);
      await vi.advanceTimersByTimeAsync(33);
    }
    await vi.advanceTimersByTimeAsync(2000);
  };
  return { sender, receiver, sent, received, state, frames, play };
}

/** What the sender says of this moment. */
function report(rtp: number): SenderReport {
  const ntpUs = nowNtpUs();
  return {
    ...{ type: 'sr' as const, ssrc: MEDIA_SSRC, rtpTimestamp: rtp },
    ...{ ntpSeconds: ntpSeconds(ntpUs), ntpFraction: ntpFraction(ntpUs) },
    ...{ packetCount: 1, octetCount: 1, reports: [] },
  };
}

const sameBytes = (received: { data: Uint8Array }[], frames: Uint8Array[]): boolean =>
  received.length === frames.length &&
  received.every(({ data }, index) => Buffer.from(data).equals(frames[index] ?? new Uint8Array(0)));

describe('a stream over a lossy network', () => {
  it.each([
    { repair: 'RTX', rtx: true },
    { repair: 'repeats on the same SSRC', rtx: false },
  ])('is complete with $repair at 10 % loss, of repeats too', async ({ rtx }) => {
    const random = seededRandom(11);
    const { play, received, frames, state, sent } = link({
      rtx,
      drops: () => random() < 0.1,
      delayMs: () => 2 + random() * 25,
    });
    await play(90, (index) => 200 + ((index * 977) % 9000));
    expect(sameBytes(received, frames)).toBe(true);
    expect(state.lost).toBe(0);
    expect(sent.some((packet) => rtpSsrc(packet) === RTX_SSRC)).toBe(rtx);
  });

  it('repeats exactly the same bytes when there is no RTX, or GCM would be broken', async () => {
    let dropped = false;
    const { play, sent, received } = link({
      rtx: false,
      drops: (packet) => {
        const drop = !dropped && rtpSequenceNumber(packet) % 7 === 3;
        dropped ||= drop;
        return drop;
      },
    });
    await play(10, () => 3000);
    expect(received).toHaveLength(10);
    const twice = sent.filter(
      (packet, index) =>
        sent.findIndex((other) => rtpSequenceNumber(other) === rtpSequenceNumber(packet)) !== index,
    );
    expect(twice).toHaveLength(1);
    const [repeat] = twice;
    const first = sent.find((packet) => rtpSequenceNumber(packet) === rtpSequenceNumber(repeat ?? packet));
    expect(repeat?.equals(first ?? Buffer.alloc(0))).toBe(true);
  });

  it('writes RTX by RFC 4588: own SSRC, payload type and numbers, the original number first', async () => {
    let original: Buffer | undefined;
    const { play, sent } = link({
      drops: (packet) => {
        const drop = original === undefined && rtpSsrc(packet) === MEDIA_SSRC && (packet[1] ?? 0) > 127;
        original = drop ? packet : original;
        return drop;
      },
    });
    await play(5, () => 2000);
    const repeat = sent.find((packet) => rtpSsrc(packet) === RTX_SSRC) ?? Buffer.alloc(0);
    const source = original ?? Buffer.alloc(0);
    expect(rtpPayloadType(repeat)).toBe(107);
    const headerLength = rtpHeaderLength(repeat);
    expect(readU16(repeat, headerLength)).toBe(rtpSequenceNumber(source));
    expect(repeat.subarray(headerLength + 2).equals(source.subarray(rtpHeaderLength(source)))).toBe(true);
    expect(repeat.readUInt32BE(4)).toBe(source.readUInt32BE(4));
  });

  it('reports what is lost for good and goes on with the next key frame', async () => {
    let victim = -1;
    const { play, received, state, frames } = link({
      nack: true,
      drops: (packet) => {
        if (victim < 0 && packet.readUInt32BE(4) === 5 * 3000) {
          victim = rtpSequenceNumber(packet);
        }
        // The packet and all its repeats.
        const isRepeat = rtpSsrc(packet) === RTX_SSRC;
        return victim >= 0 && (isRepeat || rtpSequenceNumber(packet) === victim);
      },
    });
    await play(60, () => 2500);
    expect(state.lost).toBe(1);
    expect(state.plis).toBeGreaterThan(0);
    const expected = [...frames.slice(0, 5), ...frames.slice(30)];
    expect(sameBytes(received, expected)).toBe(true);
  });

  it('waits only for reordering when the server takes no NACK', async () => {
    const random = seededRandom(5);
    const { play, received, frames, sent } = link({ nack: false, delayMs: () => 1 + random() * 40 });
    await play(60, () => 4000);
    expect(sameBytes(received, frames)).toBe(true);
    expect(sent.some((packet) => rtpSsrc(packet) === RTX_SSRC)).toBe(false);
  });

  it('spreads a big key frame over milliseconds, and everything of it arrives', async () => {
    const { sender, receiver, sent, received } = link();
    const data = accessUnit(0, true, 300_000);
    const payloads = createPacketizer('h264').packetize(data, {
      key: true,
      maxPayloadLength: MAX_PAYLOAD_LENGTH,
    });
    sender.sendFrame(payloads, 0);
    expect(sent.length).toBeLessThanOrEqual(72);
    await vi.advanceTimersByTimeAsync(1);
    expect(sent.length).toBeLessThanOrEqual(72 + 32);
    await vi.advanceTimersByTimeAsync(20);
    expect(sent).toHaveLength(payloads.length);
    receiver.onSenderReport(report(0), monotonicUs());
    expect(received).toHaveLength(1);
    expect(splitAnnexB(received[0]?.data ?? data)).toHaveLength(3);
  });

  it('asks for a key frame at most twice a second', async () => {
    const { receiver, state, play } = link();
    await play(1, () => 100);
    for (let index = 0; index < 100; index += 1) {
      receiver.requestKeyframe();
      await vi.advanceTimersByTimeAsync(10);
    }
    expect(state.plis).toBeLessThanOrEqual(3);
    expect(state.plis).toBeGreaterThanOrEqual(2);
  });

  it('numbers across the 16-bit wrap with a history that still repeats', async () => {
    const random = seededRandom(21);
    const { play, received, frames, sent } = link({
      drops: () => random() < 0.03,
      firstSequenceNumber: 65_000,
    });
    await play(60, () => 20_000);
    const wrapped = sent.filter((packet) => rtpSsrc(packet) === MEDIA_SSRC).map(rtpSequenceNumber);
    expect(wrapped.includes(65_535) && wrapped.includes(0)).toBe(true);
    expect(sameBytes(received, frames)).toBe(true);
  });
});

describe('the first frames of a stream', () => {
  const steps = (received: { ptsUs: number }[]): number[] =>
    received.slice(1).map(({ ptsUs }, index) => ptsUs - (received[index]?.ptsUs ?? 0));

  it('wait for the first sender report, and are where it says from the first one on', async () => {
    const { sender, receiver, received } = link();
    const packetizer = createPacketizer('h264');
    for (let index = 0; index < 20; index += 1) {
      const key = index === 0;
      const data = accessUnit(index, key, 400);
      sender.sendFrame(
        packetizer.packetize(data, { key, maxPayloadLength: MAX_PAYLOAD_LENGTH }),
        index * 3000,
      );
      await vi.advanceTimersByTimeAsync(33);
      if (index < 10) {
        expect(received).toEqual([]);
      } else if (index === 10) {
        receiver.onSenderReport(report((index + 1) * 3000), monotonicUs());
      }
    }
    expect(received).toHaveLength(20);
    expect(Math.abs((received[11]?.ptsUs ?? 0) - monotonicUs() + 9 * 33_000)).toBeLessThan(2_000);
    expect(Math.max(...steps(received)) - Math.min(...steps(received))).toBeLessThan(20);
  });

  it('go by their arrival when no report comes', async () => {
    const { play, received } = link();
    await play(20, () => 400);
    expect(received).toHaveLength(20);
    expect(Math.max(...steps(received)) - Math.min(...steps(received))).toBeLessThan(1_000);
  });
});
