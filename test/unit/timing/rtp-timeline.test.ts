import { describe, expect, it } from 'vitest';
import { PublisherClock } from '../../../services/media/timing/publisher-clock.ts';
import { RtpTimeline } from '../../../services/media/timing/rtp-timeline.ts';
import { seededRandom } from '../packetize/payloads.ts';

const FRAME_US = 33_333;
const NTP_START_US = 3_900_000_000_000_000;

/** One track of a publisher: its RTP clock starts anywhere, its packets take a while. */
function track(clock: PublisherClock, clockRateHz: number, firstTimestamp: number, inBursts = false) {
  const timeline = new RtpTimeline({ clockRateHz, clock, inBursts });
  const timestamp = (mediaUs: number): number =>
    (firstTimestamp + Math.round((mediaUs * clockRateHz) / 1e6)) % 0x1_0000_0000;
  return {
    frame: (mediaUs: number, arrivalUs: number) => timeline.ptsUs(timestamp(mediaUs), arrivalUs),
    report: (mediaUs: number, arrivalUs: number, ntpUs = NTP_START_US + mediaUs) =>
      timeline.onReport({ timestamp: timestamp(mediaUs), ntpUs, arrivalUs }),
  };
}

function steps(values: readonly number[]): number[] {
  return values.slice(1).map((value, index) => value - (values[index] ?? 0));
}

describe('RtpTimeline', () => {
  it('keeps the spacing of the media whatever the jitter, across the RTP wrap', () => {
    const random = seededRandom(3);
    const video = track(new PublisherClock(), 90_000, 0xffff_ffff - 90_000);
    const pts = Array.from({ length: 300 }, (_, index) =>
      // The first frames come with the least delay, so that nothing has to be corrected.
      video.frame(index * FRAME_US, 1_000_000 + index * FRAME_US + (index < 20 ? 0 : random() * 30_000)),
    );
    expect(pts[0]).toBe(1_000_000);
    expect(Math.max(...steps(pts))).toBeLessThanOrEqual(FRAME_US + 12);
    expect(Math.min(...steps(pts))).toBeGreaterThanOrEqual(FRAME_US - 12);
  });

  it('keeps the spacing of the media when packets are held back and come in bursts', () => {
    const audio = track(new PublisherClock(), 48_000, 5, true);
    const frameUs = 20_000;
    const pts = Array.from({ length: 300 }, (_, index) => {
      const mediaUs = index * frameUs;
      if (index % 50 === 40) {
        // Reports are not held back.
        audio.report(mediaUs, 1_000_000 + mediaUs);
      }
      return audio.frame(mediaUs, 1_000_000 + Math.ceil((mediaUs + 1) / 200_000) * 200_000);
    });
    expect(new Set(steps(pts))).toEqual(new Set([frameUs]));
  });

  it('lines up two tracks of a publisher soon when reports come late, and never backwards', () => {
    const clock = new PublisherClock();
    const video = track(clock, 90_000, 4_000_000_000);
    const audio = track(clock, 48_000, 17);
    const seen: { kind: string; mediaUs: number; ptsUs: number }[] = [];
    for (let mediaUs = 0; mediaUs < 5_000_000; mediaUs += 20_000) {
      // Audio takes 150 ms longer than video on its way.
      seen.push({ kind: 'video', mediaUs, ptsUs: video.frame(mediaUs, 1_000_000 + mediaUs) });
      seen.push({ kind: 'audio', mediaUs, ptsUs: audio.frame(mediaUs, 1_150_000 + mediaUs) });
      if (mediaUs === 500_000) {
        video.report(mediaUs, 1_000_000 + mediaUs);
        audio.report(mediaUs, 1_150_000 + mediaUs);
      }
    }
    const ptsOf = (kind: string): number[] =>
      seen.filter((entry) => entry.kind === kind).map(({ ptsUs }) => ptsUs);
    const [pictures, sounds] = [ptsOf('video'), ptsOf('audio')];
    expect((sounds[0] ?? 0) - (pictures[0] ?? 0)).toBe(150_000);
    // 150 ms at half the pace.
    const settled = (500_000 + 300_000) / 20_000 + 2;
    for (const [index, soundUs] of sounds.entries()) {
      expect(Math.abs(soundUs - (pictures[index] ?? 0))).toBeLessThanOrEqual(index < settled ? 150_025 : 25);
    }
    expect(new Set(steps(pictures))).toEqual(new Set([20_000]));
    expect(Math.min(...steps(sounds))).toBeGreaterThanOrEqual(9_999);
    expect(Math.max(...steps(sounds))).toBeLessThanOrEqual(20_001);
  });

  it('jumps ahead at the first report, slews at a tenth afterwards', () => {
    const clock = new PublisherClock();
    const video = track(clock, 90_000, 0);
    const audio = track(clock, 48_000, 0);
    video.report(0, 10_000_000);
    audio.frame(0, 10_000_000);
    audio.report(0, 10_000_000, NTP_START_US + 100_000);
    expect(Math.abs(audio.frame(20_000, 10_020_000) - 10_120_000)).toBeLessThanOrEqual(25);
    audio.report(20_000, 10_020_000, NTP_START_US + 220_000);
    expect(audio.frame(40_000, 10_040_000)).toBeLessThanOrEqual(10_142_025);
  });

  it('places two tracks exactly together when reports came first, however their packets arrive', () => {
    const clock = new PublisherClock();
    const video = track(clock, 90_000, 4_000_000_000, true);
    const audio = track(clock, 48_000, 17, true);
    video.report(900_000, 1_900_000);
    audio.report(1_000_000, 2_080_000);
    for (let mediaUs = 0; mediaUs < 2_000_000; mediaUs += 20_000) {
      const pictureUs = video.frame(mediaUs, 2_000_000 + mediaUs);
      expect(Math.abs(audio.frame(mediaUs, 2_240_000 + mediaUs) - pictureUs)).toBeLessThanOrEqual(25);
    }
  });

  it('does not move when reports come before the first packet', () => {
    const video = track(new PublisherClock(), 90_000, 5);
    video.report(0, 1_000_000);
    const pts = [0, 1, 2, 3].map((index) =>
      video.frame(index * FRAME_US, 1_000_000 + index * FRAME_US + 9_000),
    );
    expect(pts[0]).toBe(1_000_000);
    expect(Math.max(...steps(pts)) - Math.min(...steps(pts))).toBeLessThanOrEqual(24);
  });

  it('jumps ahead when the correction is far, and goes back only by slowing down', () => {
    const clock = new PublisherClock();
    const video = track(clock, 90_000, 0);
    const audio = track(clock, 48_000, 0);
    video.frame(0, 10_000_000);
    video.report(0, 10_000_000);
    // By its reports this track is 5 s further than its arrival suggests.
    audio.frame(0, 10_000_000);
    audio.report(0, 10_000_000, NTP_START_US + 5_000_000);
    expect(audio.frame(20_000, 10_020_000)).toBeGreaterThanOrEqual(15_020_000 - 25);
    // And now behind: no step backwards.
    audio.report(20_000, 10_020_000, NTP_START_US + 20_000);
    const later = Array.from({ length: 100 }, (_, index) =>
      audio.frame(40_000 + index * 20_000, 10_040_000 + index * 20_000),
    );
    expect(Math.min(...steps(later))).toBeGreaterThanOrEqual(17_999);
  });

  it('keeps frames rising when a sender repeats a timestamp', () => {
    const video = track(new PublisherClock(), 90_000, 0);
    const pts = [video.frame(0, 5), video.frame(0, 6), video.frame(0, 7), video.frame(FRAME_US, 33_400)];
    expect(Math.min(...steps(pts))).toBeGreaterThan(0);
  });
});

describe('PublisherClock', () => {
  /** Runs for `seconds` with a publisher whose crystal is `ppm` fast; returns the error of the mapping at the end. */
  function driftErrorUs(ppm: number, seconds: number): number {
    const random = seededRandom(ppm);
    const clock = new PublisherClock();
    clock.set(1_000_000 - NTP_START_US);
    let error = 0;
    for (let second = 0; second <= seconds; second += 1) {
      const trueUs = 1_000_000 + second * 1e6;
      const ntpUs = Math.round(NTP_START_US + second * 1e6 * (1 + ppm / 1e6));
      clock.onReport(ntpUs, trueUs + random() * 20_000);
      error = clock.toSessionUs(ntpUs) - trueUs;
    }
    return error;
  }

  it.each([100, -100, 0])('follows a crystal that is %i ppm off', (ppm) => {
    // Uncorrected it would be 60 ms after ten minutes.
    expect(Math.abs(driftErrorUs(ppm, 600))).toBeLessThan(15_000);
  });

  it('follows a publisher whose clock was set', () => {
    const clock = new PublisherClock();
    clock.set(-NTP_START_US);
    clock.onReport(NTP_START_US + 1_000_000, 1_000_000);
    clock.onReport(NTP_START_US + 3_602_000_000, 2_000_000);
    expect(clock.toSessionUs(NTP_START_US + 3_602_000_000)).toBe(2_000_000);
  });
});
