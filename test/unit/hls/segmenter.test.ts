import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Segmenter } from '../../../services/media/hls/segmenter.ts';
import type { EncodedPacket } from '../../../services/model/packet.ts';
import { ffmpeg } from '../../support/ffmpeg-encoder.ts';
import { ffprobe, packetHashes, streamOf } from '../../support/ffprobe.ts';
import { encodeMedia, type EncodedMedia } from '../../support/encoded-media.ts';

type Written = { startUs: number; durationUs: number; bytes: Buffer };

let media: EncodedMedia;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'sluice-segmenter-'));
  media = await encodeMedia({ video: 'h264', audio: 'aac', seconds: 7, keyIntervalS: 2 });
});
afterAll(() => rm(folder, { recursive: true }));

function cut(
  packets: readonly EncodedPacket[],
  options: { kinds?: ('video' | 'audio')[]; segmentDurationS?: number } = {},
) {
  const written: Written[] = [];
  let bytes: Buffer[] = [];
  let keyframesAsked = 0;
  const segmenter = new Segmenter({
    kinds: options.kinds ?? ['video', 'audio'],
    segmentDurationS: options.segmentDurationS ?? 2,
    sink: {
      open: () => {
        bytes = [];
      },
      append: (data) => bytes.push(data),
      close: (segment) => written.push({ ...segment, bytes: Buffer.concat(bytes) }),
    },
    requestKeyframe: () => {
      keyframesAsked += 1;
    },
  });
  for (const track of [media.video, media.audio]) {
    if (track !== undefined) {
      segmenter.addTrack(track.format);
    }
  }
  for (const packet of [...packets].sort((a, b) => a.dtsUs - b.dtsUs)) {
    segmenter.write(packet);
  }
  segmenter.finish();
  return { written, keyframesAsked };
}

async function save(name: string, bytes: Buffer): Promise<string> {
  const file = path.join(folder, name);
  await writeFile(file, bytes);
  return file;
}

function firstOf([first]: readonly Written[]): Buffer {
  return first?.bytes ?? Buffer.alloc(0);
}

const both = (): EncodedPacket[] => [...(media.video?.packets ?? []), ...(media.audio?.packets ?? [])];

describe('segmenter', () => {
  it('cuts at the key frames nearest to the duration, every segment playable by itself', async () => {
    const { written } = cut(both());
    expect(written.map(({ startUs }) => startUs)).toEqual([0, 2e6, 4e6, 6e6]);
    expect(written.slice(0, 3).map(({ durationUs }) => durationUs)).toEqual([2e6, 2e6, 2e6]);
    expect(Math.abs((written[3]?.durationUs ?? 0) - 1e6)).toBeLessThan(50_000);
    for (const [index, { bytes }] of written.entries()) {
      const file = await save(`${index}.ts`, bytes);
      const probe = await ffprobe(file);
      expect(probe.format.format_name).toBe('mpegts');
      expect(streamOf(probe, 'video')).toMatchObject({ codec_name: 'h264', width: 320, height: 240 });
      expect(streamOf(probe, 'audio')).toMatchObject({
        codec_name: 'aac',
        sample_rate: '48000',
        channels: 2,
      });
      // Nothing but decodable pictures: an error would end ffmpeg.
      await ffmpeg(['-v', 'error', '-xerror', '-i', file, '-f', 'null', '-']);
    }
  });

  it('loses and changes nothing: joined segments hold every packet', async () => {
    const { written } = cut(both());
    const joined = await save('joined.ts', Buffer.concat(written.map(({ bytes }) => bytes)));
    const whole = await save('whole.ts', firstOf(cut(both(), { segmentDurationS: 60 }).written));
    for (const kind of ['video', 'audio'] as const) {
      const hashes = await packetHashes(joined, kind);
      expect(hashes).toHaveLength(media[kind]?.packets.length ?? -1);
      expect(hashes).toEqual(await packetHashes(whole, kind));
    }
    await ffmpeg(['-v', 'error', '-xerror', '-i', joined, '-f', 'null', '-']);
  });

  it('asks for a key frame when none comes, and cuts at it', () => {
    const key = (packet: EncodedPacket): boolean => packet.kind === 'audio' || packet.ptsUs === 0;
    const late = both().map((packet) => ({ ...packet, key: key(packet) || packet.ptsUs === 5e6 }));
    const { written, keyframesAsked } = cut(late);
    expect(written.map(({ startUs }) => startUs)).toEqual([0, 5e6]);
    expect(keyframesAsked).toBeGreaterThan(1);
  });

  it('ignores key frames that come much too early', () => {
    expect(cut(both(), { segmentDurationS: 4 }).written.map(({ startUs }) => startUs)).toEqual([0, 4e6]);
    expect(cut(both(), { segmentDurationS: 2.1 }).written.map(({ startUs }) => startUs)).toEqual([
      0, 2e6, 4e6, 6e6,
    ]);
  });

  it('goes on with sound alone, from the start or when the picture stands still', async () => {
    const audio = media.audio?.packets ?? [];
    const alone = cut(audio, { kinds: ['audio'] });
    expect(alone.written).toHaveLength(4);
    const probe = await ffprobe(await save('audio.ts', firstOf(alone.written)));
    expect(probe.streams.map(({ codec_name }) => codec_name)).toEqual(['aac']);
    const muted = cut([...audio, ...(media.video?.packets ?? []).filter(({ ptsUs }) => ptsUs < 1e6)]);
    expect(muted.written.length).toBeGreaterThanOrEqual(3);
  });

  it('starts at a key frame and waits for no track', () => {
    const video = (media.video?.packets ?? []).slice(10);
    const { written } = cut(video);
    expect(written[0]?.startUs).toBe(2e6);
  });

  it('names a codec that transport streams do not hold', () => {
    const segmenter = new Segmenter({
      kinds: ['audio'],
      segmentDurationS: 4,
      sink: { open: () => undefined, append: () => undefined, close: () => undefined },
      requestKeyframe: () => undefined,
    });
    expect(() => {
      segmenter.addTrack({ kind: 'audio', codec: 'opus', sampleRateHz: 48_000, channels: 2 });
    }).toThrow(/hold h264, aac, not opus/);
  });
});
