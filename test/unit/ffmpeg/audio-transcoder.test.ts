import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { createLogger } from '../../../services/base/logger.ts';
import { parseAacConfig } from '../../../services/media/codecs/aac.ts';
import { toAdts } from '../../../services/media/ffmpeg/adts.ts';
import { createAudioTranscoder } from '../../../services/media/ffmpeg/audio-transcoder.ts';
import type {
  AudioTranscodeInput,
  AudioTranscodeOutput,
} from '../../../services/media/ffmpeg/audio-transcoder-types.ts';
import type { AudioFormat, EncodedPacket } from '../../../services/model/packet.ts';

const FFMPEG = process.env['FFMPEG_PATH'] ?? 'ffmpeg';
const logger = createLogger({ level: 'silent' });
const AAC: AudioTranscodeOutput = { codec: 'aac', sampleRateHz: 48_000, channels: 2, bitrateKbps: 128 };
const PCM: AudioTranscodeInput = { codec: 'pcm_s16le', sampleRateHz: 48_000, channels: 2 };

/** Stereo PCM, silent but for a 5 ms 1 kHz click at each of `clicksMs`. */
function clicks(durationMs: number, clicksMs: number[], sampleRateHz = 48_000): Buffer {
  const samples = Math.round((durationMs * sampleRateHz) / 1000);
  const pcm = Buffer.alloc(samples * 4);
  for (const atMs of clicksMs) {
    const start = Math.round((atMs * sampleRateHz) / 1000);
    for (let i = 0; i < sampleRateHz * 0.005; i++) {
      const value = Math.round(20_000 * Math.sin((2 * Math.PI * 1000 * i) / sampleRateHz));
      pcm.writeInt16LE(value, (start + i) * 4);
      pcm.writeInt16LE(value, (start + i) * 4 + 2);
    }
  }
  return pcm;
}

type Collected = { format: AudioFormat; packets: EncodedPacket[]; error: Error | undefined };

async function transcode(
  input: AudioTranscodeInput,
  output: AudioTranscodeOutput,
  chunks: { ptsUs: number; data: Uint8Array }[],
): Promise<Collected> {
  const transcoder = createAudioTranscoder({ ffmpegPath: FFMPEG, input, output, logger });
  const packets: EncodedPacket[] = [];
  let format: AudioFormat | undefined;
  let error: Error | undefined;
  transcoder.events.on('format', (value) => {
    format = value;
  });
  transcoder.events.on('packet', (packet) => packets.push(packet));
  transcoder.events.on('closed', (closed) => {
    error = closed.error;
  });
  for (const chunk of chunks) {
    transcoder.write(chunk);
  }
  await transcoder.close();
  if (format === undefined) {
    throw new Error('no format before the end');
  }
  return { format, packets, error };
}

/** Session times in ms at which a decoder would play a click. */
function heardClicks(format: AudioFormat, packets: EncodedPacket[]): number[] {
  const profile = parseAacConfig(format.description ?? new Uint8Array());
  const adts = Buffer.concat(packets.map((packet) => toAdts(profile, packet.data)));
  const decoded = spawnSync(FFMPEG, ['-v', 'error', '-f', 'aac', '-i', 'pipe:0', '-f', 's16le', 'pipe:1'], {
    input: adts,
    maxBuffer: 1 << 28,
  }).stdout;
  const heard: number[] = [];
  let lastSample = -Infinity;
  for (let i = 0; i * 4 + 1 < decoded.length; i++) {
    if (Math.abs(decoded.readInt16LE(i * 4)) > 8_000) {
      if (i - lastSample > 4_800) {
        const packet = packets[Math.floor(i / 1024)];
        heard.push(((packet?.ptsUs ?? NaN) + ((i % 1024) * 1e6) / 48_000) / 1000);
      }
      lastSample = i;
    }
  }
  return heard;
}

function inChunks(pcm: Buffer, startUs: number) {
  const chunks: { ptsUs: number; data: Uint8Array }[] = [];
  for (let offset = 0; offset < pcm.length; offset += 960 * 4) {
    const ptsUs = Math.round(startUs + (offset / 4 / 48_000) * 1e6);
    chunks.push({ ptsUs, data: pcm.subarray(offset, offset + 960 * 4) });
  }
  return chunks;
}

describe('audio transcoder', () => {
  it('labels AAC packets with the time their sound is heard, whatever the start time', async () => {
    const result = await transcode(PCM, AAC, inChunks(clicks(2_000, [250, 750, 1500]), 5_000_000));
    expect(result.error).toBeUndefined();
    expect(result.format).toMatchObject({ codec: 'aac', sampleRateHz: 48_000, channels: 2 });
    const heard = heardClicks(result.format, result.packets);
    expect(heard).toHaveLength(3);
    [5250, 5750, 6500].forEach((expectedMs, i) => {
      expect(heard[i]).toBeGreaterThan(expectedMs - 4);
      expect(heard[i]).toBeLessThan(expectedMs + 4);
    });
  });

  it('fills a hole in the PCM clock with silence and cuts an overlap, so later sound keeps its time', async () => {
    const before = inChunks(clicks(1_000, [500]), 0);
    const afterHole = inChunks(clicks(1_000, [500]), 1_400_000);
    const overlapping = inChunks(clicks(1_000, [700]), 2_200_000);
    const result = await transcode(PCM, AAC, [...before, ...afterHole, ...overlapping]);
    const heard = heardClicks(result.format, result.packets);
    expect(heard).toHaveLength(3);
    [500, 1900, 2900].forEach((expectedMs, i) => {
      expect(Math.abs((heard[i] ?? NaN) - expectedMs)).toBeLessThan(5);
    });
    const steps = result.packets.slice(1).map((packet, i) => packet.ptsUs - (result.packets[i]?.ptsUs ?? 0));
    expect(Math.max(...steps)).toBeLessThan(22_500);
  });

  it('turns AAC into Opus without losing packets, and jumps with the input clock', async () => {
    const aac = await transcode(PCM, AAC, inChunks(clicks(2_000, [500]), 0));
    const input: AudioTranscodeInput = {
      codec: 'aac',
      sampleRateHz: 48_000,
      channels: 2,
      description: aac.format.description ?? new Uint8Array(),
    };
    const opus: AudioTranscodeOutput = { codec: 'opus', sampleRateHz: 48_000, channels: 2, bitrateKbps: 96 };
    const chunks = aac.packets.map((packet, i) => ({
      ...packet,
      ptsUs: i < aac.packets.length / 2 ? packet.ptsUs : packet.ptsUs + 3_000_000,
    }));
    const result = await transcode(input, opus, chunks);
    expect(result.format).toEqual({ kind: 'audio', codec: 'opus', sampleRateHz: 48_000, channels: 2 });
    expect(result.packets.length).toBeGreaterThanOrEqual(Math.floor((chunks.length * 1024) / 960));
    expect(result.packets[0]?.ptsUs).toBe(-6_500);
    const last = result.packets.at(-1)?.ptsUs ?? 0;
    expect(Math.abs(last - 5_000_000)).toBeLessThan(60_000);
    const jumps = result.packets.filter(
      (packet, i) => packet.ptsUs - (result.packets[i - 1]?.ptsUs ?? packet.ptsUs) > 2_900_000,
    );
    expect(jumps).toHaveLength(1);
  });

  it.each([
    AAC,
    { codec: 'opus', sampleRateHz: 48_000, channels: 2, bitrateKbps: 64 } satisfies AudioTranscodeOutput,
  ])('hands silence on as soon as sound, mixed into $codec', async (output) => {
    const transcoder = createAudioTranscoder({ ffmpegPath: FFMPEG, input: PCM, output, logger, mixed: true });
    let heardUs = 0;
    transcoder.events.on('packet', ({ ptsUs, durationUs }) => (heardUs = ptsUs + durationUs));
    for (let i = 0; i < 10; i++) {
      transcoder.write({ ptsUs: i * 200_000, data: clicks(200, []) });
    }
    await expect.poll(() => heardUs, { timeout: 15_000 }).toBeGreaterThan(1_500_000);
    await transcoder.close();
  });

  it('reports why it closed when ffmpeg dies, and ignores later writes', async () => {
    const transcoder = createAudioTranscoder({
      ffmpegPath: '/bin/false',
      input: PCM,
      output: AAC,
      logger,
    });
    const closed = new Promise<{ error?: Error }>((resolve) => transcoder.events.on('closed', resolve));
    transcoder.write({ ptsUs: 0, data: new Uint8Array(4) });
    expect((await closed).error?.message).toMatch(/ffmpeg ended with exit code 1/);
    transcoder.write({ ptsUs: 20_000, data: new Uint8Array(4) });
    await transcoder.close();
  });

  it('refuses an AAC configuration that ADTS cannot carry', () => {
    expect(() =>
      createAudioTranscoder({
        ffmpegPath: FFMPEG,
        input: { codec: 'aac', sampleRateHz: 48_000, channels: 2, description: Uint8Array.of(0xf8, 0xe8) },
        output: AAC,
        logger,
      }),
    ).toThrow(/AAC/);
  });
});
