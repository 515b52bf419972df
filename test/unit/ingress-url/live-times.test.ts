import { describe, expect, it } from 'vitest';
import type { MatroskaPacket, MatroskaTrack } from '../../../services/media/ffmpeg/matroska-reader.ts';
import { DecodingTimes } from '../../../services/ingress/url/decoding-times.ts';
import { withArrival } from '../../../services/ingress/url/live-start.ts';

const PICTURE_US = 33_000;
const TRACK: MatroskaTrack = {
  ...{ number: 1, kind: 'video', codecId: 'V_MPEGH/ISO/HEVC', codecPrivate: Buffer.alloc(0) },
  ...{ width: 320, height: 180, channels: 0, sampleRateHz: 0 },
};

function packet(ptsUs: number, track = TRACK): MatroskaPacket {
  return { track, ptsUs, key: false, data: Buffer.alloc(1) };
}

describe('decoding times', () => {
  it('are the presentation times where nothing is reordered', () => {
    const times = new DecodingTimes();
    expect([0, 1, 2].map((n) => times.next(packet(n * PICTURE_US)))).toEqual([0, 33_000, 66_000]);
  });

  it('of sound are always its own', () => {
    const times = new DecodingTimes();
    times.next(packet(1_000_000));
    expect(times.next(packet(20_000, { ...TRACK, kind: 'audio' }))).toBe(20_000);
  });

  it('rise, and soon lie before every picture of a stream with B-frames', () => {
    const times = new DecodingTimes();
    const order = Array.from({ length: 20 }, (_, group) => [3, 1, 2].map((n) => group * 3 + n)).flat();
    const all = order.map((n) => ({ ptsUs: n * PICTURE_US, dtsUs: times.next(packet(n * PICTURE_US)) }));
    expect(all.every(({ dtsUs }, at) => at === 0 || dtsUs > (all[at - 1]?.dtsUs ?? 0))).toBe(true);
    expect(all.slice(6).every(({ dtsUs, ptsUs }) => dtsUs <= ptsUs)).toBe(true);
    expect(all.every(({ dtsUs, ptsUs }) => ptsUs - dtsUs < 4 * PICTURE_US)).toBe(true);
  });
});

describe('the start of a live input', () => {
  async function arrivals(packets: { ptsUs: number; atUs: number }[]): Promise<number[]> {
    let nowUs = 0;
    async function* source(): AsyncGenerator<{ ptsUs: number }, void> {
      for (const { ptsUs, atUs } of packets) {
        nowUs = atUs;
        yield await Promise.resolve({ ptsUs });
      }
    }
    const all: number[] = [];
    for await (const { arrivalUs } of withArrival(source(), () => nowUs)) {
      all.push(arrivalUs);
    }
    return all;
  }

  it('is given out as if it had come at its own time, the last of it now', async () => {
    const stored = [0, 100_000, 200_000, 300_000].map((ptsUs) => ({ ptsUs, atUs: 1_000_000 }));
    const live = [400_000, 500_000].map((ptsUs) => ({ ptsUs, atUs: 700_000 + ptsUs }));
    const late = { ptsUs: 600_000, atUs: 1_900_000 };
    expect(await arrivals([...stored, ...live, late])).toEqual([
      ...[700_000, 800_000, 900_000, 1_000_000],
      ...[1_100_000, 1_200_000, 1_900_000],
    ]);
  });

  it('is all there is of a short one', async () => {
    expect(await arrivals([{ ptsUs: 0, atUs: 5_000 }])).toEqual([5_000]);
    expect(await arrivals([])).toEqual([]);
  });
});
