import { describe, expect, it } from 'vitest';
import { createLogger } from '../../../services/base/logger.ts';
import type { AudioFormat, EncodedPacket, VideoFormat } from '../../../services/model/packet.ts';
import { SendClock } from '../../../services/rtc-client/send-clock.ts';
import type { SendStream } from '../../../services/rtc-client/send-stream.ts';
import { LocalPublisher, type PublisherHost } from '../../../services/rtc-client/track-publisher.ts';

const logger = createLogger({ level: 'silent' });
const OPUS = { kind: 'audio', codec: 'opus', sampleRateHz: 48_000, channels: 2 } as const;
const VP8 = { kind: 'video', codec: 'vp8', width: 16, height: 16 } as const;

function setUp(format: AudioFormat | VideoFormat, clock = new SendClock()) {
  const muted: boolean[] = [];
  const host: PublisherHost = {
    clock,
    setMuted: (_sid, value) => muted.push(value),
    unpublish: () => Promise.resolve(),
    report: () => undefined,
  };
  const publisher = new LocalPublisher({ format, name: 'n', source: 'camera' }, host, logger);
  const sent: { first: number; timestamp: number }[] = [];
  const stream = {
    hasSent: true,
    sendFrame: (payloads: { body: Uint8Array }[], timestamp: number) =>
      sent.push({ first: payloads[0]?.body[0] ?? -1, timestamp }),
  } as unknown as SendStream;
  return { publisher, sent, stream, muted };
}

function packet(kind: 'video' | 'audio', ptsUs: number, first: number, key = true): EncodedPacket {
  return { kind, ptsUs, dtsUs: ptsUs, durationUs: 0, key, data: Uint8Array.of(first, 1, 2) };
}

describe('LocalPublisher', () => {
  it('tells once when nobody watches and when somebody does, and believes so again in a new session', () => {
    const { publisher } = setUp(VP8);
    const told: boolean[] = [];
    publisher.events.on('watched', ({ isWatched }) => told.push(isWatched));
    [true, false, false, true, false].forEach((isWatched) => publisher.applyDemand(isWatched));
    publisher.assign('TR_again', '1');
    publisher.close('over');
    publisher.applyDemand(false);
    expect(told).toEqual([false, true, false, true]);
  });

  it('sends each simulcast layer on its own stream, of which a server may refuse some', () => {
    const format = {
      ...VP8,
      layers: [
        { layer: 0, width: 4, height: 4 },
        { layer: 1, width: 8, height: 8 },
        { layer: 2, width: 16, height: 16 },
      ],
    } as const;
    const [low, high] = [setUp(VP8), setUp(VP8)];
    const { publisher } = setUp(format);
    publisher.attach(
      new Map([
        ['q', low.stream],
        ['f', high.stream],
      ]),
    );
    for (const layer of [0, 1, 2] as const) {
      publisher.write({ ...packet('video', layer, layer + 1), layer });
    }
    publisher.write(packet('video', 9, 9));
    expect(low.sent.map(({ first }) => first)).toEqual([1]);
    expect(high.sent.map(({ first }) => first)).toEqual([3, 9]);
    expect((high.sent[0]?.timestamp ?? 0) - (low.sent[0]?.timestamp ?? 0)).toBe(0);
  });

  it('runs RTP time from the presentation times, wrapping at 32 bits', () => {
    const { publisher, sent, stream } = setUp(VP8);
    publisher.attach(new Map([['', stream]]));
    const hour = 3_600_000_000;
    for (const ptsUs of [0, 1_000_000, 14 * hour]) {
      publisher.write(packet('video', ptsUs, 0));
    }
    const [a = 0, b = 0, c = 0] = sent.map(({ timestamp }) => timestamp);
    expect((b - a) >>> 0).toBe(90_000);
    expect((c - a) >>> 0).toBe((14 * 3600 * 90_000) % 0x1_0000_0000);
    expect(sent.every(({ timestamp }) => timestamp >= 0 && timestamp <= 0xffff_ffff)).toBe(true);
  });

  it('puts all tracks of a client on one NTP clock', () => {
    const clock = new SendClock();
    const [video, audio] = [setUp(VP8, clock), setUp(OPUS, clock)];
    video.publisher.attach(new Map([['', video.stream]]));
    audio.publisher.attach(new Map([['', audio.stream]]));
    expect(video.publisher.encodings[0]?.side.reportPoint()).toBeUndefined();
    video.publisher.write(packet('video', 5_000_000, 0));
    audio.publisher.write(packet('audio', 5_250_000, 0));
    const ntpAt = ({ publisher, sent }: typeof video, rateHz: number): number => {
      const point = publisher.encodings[0]?.side.reportPoint();
      // Back from the moment of the report to the packet, by RTP time.
      const elapsed = ((point?.rtpTimestamp ?? 0) - (sent[0]?.timestamp ?? 0)) | 0;
      return (point?.ntpUs ?? 0) - (elapsed * 1e6) / rateHz;
    };
    expect(Math.abs(ntpAt(audio, 48_000) - ntpAt(video, 90_000) - 250_000)).toBeLessThan(50);
  });

  it('holds video back to the last key frame while there is no transport', () => {
    const { publisher, sent, stream } = setUp(VP8);
    publisher.write(packet('video', 0, 1, false));
    publisher.write(packet('video', 1, 2));
    publisher.write(packet('video', 2, 3, false));
    publisher.write(packet('video', 3, 4));
    publisher.write(packet('video', 4, 5, false));
    publisher.attach(new Map([['', stream]]));
    publisher.write(packet('video', 5, 6, false));
    expect(sent.map(({ first }) => first)).toEqual([4, 5, 6]);
  });

  it('holds audio back for a second, no more', () => {
    const { publisher, sent, stream } = setUp(OPUS);
    for (let index = 0; index < 200; index += 1) {
      publisher.write(packet('audio', index * 20_000, index));
    }
    publisher.attach(new Map([['', stream]]));
    expect(sent.map(({ first }) => first)).toEqual(Array.from({ length: 51 }, (_, index) => 149 + index));
  });

  it('sends nothing while muted, and tells the server only what we decided', () => {
    const { publisher, sent, stream, muted } = setUp(OPUS);
    publisher.attach(new Map([['', stream]]));
    publisher.setMuted(true);
    publisher.setMuted(true);
    publisher.write(packet('audio', 0, 1));
    publisher.applyMute(false);
    publisher.write(packet('audio', 20_000, 2));
    publisher.applyMute(true);
    publisher.write(packet('audio', 40_000, 3));
    expect(sent.map(({ first }) => first)).toEqual([2]);
    expect(muted).toEqual([true]);
  });

  it('ends once and sends nothing afterwards', async () => {
    const { publisher, sent, stream } = setUp(OPUS);
    const causes: string[] = [];
    publisher.events.on('closed', ({ cause }) => causes.push(cause));
    publisher.attach(new Map([['', stream]]));
    await publisher.unpublish();
    publisher.close('again');
    publisher.write(packet('audio', 0, 1));
    expect(causes).toEqual(['unpublished']);
    expect(sent).toEqual([]);
  });
});
