import { afterEach, describe, expect, it, vi } from 'vitest';
import { OpusTrackDecoder } from '../../../services/media/audio/opus-track-decoder.ts';
import { encodeMedia } from '../../support/encoded-media.ts';
import { SeededRandom } from '../../support/seeded-random.ts';

describe('OpusTrackDecoder', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  it('decodes a tone to stereo at 48 kHz', async () => {
    const { audio } = await encodeMedia({ audio: 'opus', seconds: 1 });
    const decoder = await OpusTrackDecoder.create();
    let crossings = 0;
    let samples = 0;
    let last = 0;
    for (const { data } of audio?.packets ?? []) {
      const pcm = decoder.decode(data);
      expect(pcm?.left.length).toBe(960);
      expect(pcm?.right.length).toBe(960);
      for (const value of pcm?.left ?? []) {
        crossings += value > 0 && last <= 0 ? 1 : 0;
        last = value;
        samples += 1;
      }
    }
    expect(crossings / (samples / 48_000)).toBeGreaterThan(430);
    expect(crossings / (samples / 48_000)).toBeLessThan(450);
    expect(decoder.errors).toBe(0);
    decoder.free();
    decoder.free();
    expect(decoder.decode(Uint8Array.of(0xf8))).toBeUndefined();
  });

  it('survives damaged packets, counts what it cannot decode and gives up on garbage', async () => {
    // The decoder prints every error.
    const printed = vi.spyOn(console, 'error').mockImplementation(() => undefined);
    const { audio } = await encodeMedia({ audio: 'opus', seconds: 1 });
    const decoder = await OpusTrackDecoder.create();
    const random = new SeededRandom(5);
    const packets = audio?.packets ?? [];
    for (let index = 0; index < 2000; index += 1) {
      const packet = random.pick(packets).data;
      const pcm = decoder.decode(random.chance(0.5) ? random.damage(packet) : packet);
      expect(pcm === undefined || pcm.left.length === pcm.right.length).toBe(true);
    }
    expect(decoder.decode(new Uint8Array(0))).toBeUndefined();
    expect(decoder.decode(new Uint8Array(100_000))).toBeUndefined();
    const cutOff = Uint8Array.of(0xff);
    for (let index = 0; index < 300; index += 1) {
      decoder.decode(cutOff);
    }
    expect(decoder.errors).toBe(200);
    expect(decoder.decode(packets[0]?.data ?? cutOff)).toBeUndefined();
    expect(printed.mock.calls.length).toBeLessThanOrEqual(200);
    decoder.free();
  });
});
