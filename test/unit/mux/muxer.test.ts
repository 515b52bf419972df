import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ALL_FORMATS, EncodedPacketSink, FilePathSource, Input } from 'mediabunny';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createLogger } from '../../../services/base/logger.ts';
import { remux } from '../../../services/media/ffmpeg/remux.ts';
import { joinLengthPrefixed, splitAnnexB } from '../../../services/media/codecs/h264.ts';
import { openFileSink } from '../../../services/media/mux/file-sink.ts';
import { createMuxer } from '../../../services/media/mux/muxer.ts';
import type { MuxerOptions } from '../../../services/media/mux/muxer-types.ts';
import type { EncodedPacket } from '../../../services/model/packet.ts';
import { encodeMedia, type EncodedMedia } from '../../support/encoded-media.ts';

// Work for the CPU, which others may have.
vi.setConfig({ testTimeout: 120_000 });

const FFMPEG = process.env['FFMPEG_PATH'] ?? 'ffmpeg';
const FFPROBE = process.env['FFPROBE_PATH'] ?? 'ffprobe';
const logger = createLogger({ level: 'silent' });

let folder: string;
let h264: EncodedMedia;
let vp8: EncodedMedia;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'sluice-mux-'));
  h264 = await encodeMedia({ video: 'h264', audio: 'aac', seconds: 5 });
  vp8 = await encodeMedia({ video: 'vp8', audio: 'opus', seconds: 3 });
});
afterAll(() => rm(folder, { recursive: true }));

type Opened = Pick<MuxerOptions, 'container' | 'kinds' | 'expectedFormats'> & { name: string };
async function openMuxer({ name, ...options }: Opened) {
  const file = path.join(folder, name);
  const errors: Error[] = [];
  const muxer = createMuxer({
    ...options,
    sink: await openFileSink(file),
    logger,
    onError: (error) => errors.push(error),
  });
  return { file, muxer, errors };
}

function track<T extends keyof EncodedMedia>(media: EncodedMedia, kind: T): NonNullable<EncodedMedia[T]> {
  const found = media[kind];
  if (found === undefined) {
    throw new Error(`fixture has no ${kind}`);
  }
  return found;
}

function interleave(...tracks: EncodedPacket[][]): EncodedPacket[] {
  return tracks.flat().sort((a, b) => a.ptsUs - b.ptsUs);
}

const shift = (packets: EncodedPacket[], byUs: number) =>
  packets.map((packet) => ({ ...packet, ptsUs: packet.ptsUs + byUs, dtsUs: packet.dtsUs + byUs }));

async function readBack(file: string, kind: 'video' | 'audio') {
  const input = new Input({ source: new FilePathSource(file), formats: ALL_FORMATS });
  const found = kind === 'video' ? await input.getPrimaryVideoTrack() : await input.getPrimaryAudioTrack();
  const packets: { data: Buffer; ptsUs: number; key: boolean }[] = [];
  if (found !== null) {
    for await (const packet of new EncodedPacketSink(found).packets()) {
      packets.push({
        data: Buffer.from(packet.data),
        ptsUs: Math.round(packet.timestamp * 1e6),
        key: packet.type === 'key',
      });
    }
  }
  input.dispose();
  return packets;
}

/** ffmpeg's own words about decoding errors ('' = none) and the frames it got. */
function decode(file: string, stream: 'v' | 'a'): { errors: string; frames: number } {
  const probe = execFileSync(
    FFPROBE,
    [
      '-v',
      'error',
      '-count_frames',
      '-select_streams',
      `${stream}:0`,
      '-show_entries',
      'stream=nb_read_frames',
      '-of',
      'csv=p=0',
      file,
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const { stderr: errors } = spawnSync(
    FFMPEG,
    [
      '-v',
      'error',
      '-i',
      file,
      '-map',
      `0:${stream}`,
      '-vsync',
      'passthrough',
      '-enc_time_base',
      '-1',
      '-f',
      'null',
      '-',
    ],
    { encoding: 'utf8' },
  );
  return { errors, frames: Number(probe.toString().trim().replace(',', '')) };
}

const inMp4 = (packet: EncodedPacket) => Buffer.from(joinLengthPrefixed(splitAnnexB(packet.data)));

describe('fragmented MP4', () => {
  it('holds every packet untouched at its time, from a clock that starts anywhere', async () => {
    const { file, muxer } = await openMuxer({
      name: 'av.mp4',
      container: 'mp4-fragmented',
      kinds: ['video', 'audio'],
    });
    const video = track(h264, 'video');
    const audio = track(h264, 'audio');
    muxer.addTrack(video.format);
    muxer.addTrack(audio.format);
    for (const packet of interleave(shift(video.packets, 7e9 + 40_000), shift(audio.packets, 7e9))) {
      muxer.write(packet);
    }
    await muxer.finish();
    const readVideo = await readBack(file, 'video');
    expect(readVideo).toHaveLength(150);
    readVideo.forEach((packet, i) => {
      const sent = video.packets[i];
      expect(sent && packet.data.equals(inMp4(sent))).toBe(true);
      expect(Math.abs(packet.ptsUs - (sent?.ptsUs ?? 0) - 40_000)).toBeLessThan(20);
      expect(packet.key).toBe(sent?.key);
    });
    const readAudio = await readBack(file, 'audio');
    expect(readAudio.map(({ data }) => data.toString('hex'))).toEqual(
      audio.packets.map(({ data }) => Buffer.from(data).toString('hex')),
    );
    expect(Math.abs((readAudio.at(-1)?.ptsUs ?? 0) - (audio.packets.at(-1)?.ptsUs ?? 1))).toBeLessThan(30);
    expect(decode(file, 'v')).toEqual({ errors: '', frames: 150 });
    expect(decode(file, 'a').errors).toBe('');
  });

  it('puts a fragment on disk each second without key frames and with a silent audio track', async () => {
    const { file, muxer } = await openMuxer({
      name: 'silent.mp4',
      container: 'mp4-fragmented',
      kinds: ['video', 'audio'],
    });
    const video = track(h264, 'video');
    muxer.addTrack(video.format);
    muxer.addTrack(track(h264, 'audio').format);
    let bytesInFile = 0;
    for (const packet of video.packets.slice(0, 135)) {
      muxer.write(packet);
    }
    await expect
      .poll(async () => (bytesInFile = (await stat(file)).size), { timeout: 15_000 })
      .toBe(muxer.stats.bytes);
    expect(video.packets.filter((packet) => packet.key)).toHaveLength(1);
    const onDisk = path.join(folder, 'crashed.mp4');
    await writeFile(onDisk, (await readFile(file)).subarray(0, bytesInFile));
    expect(decode(onDisk, 'v').frames).toBeGreaterThanOrEqual(119);
    await muxer.finish();
    expect(decode(file, 'v')).toEqual({ errors: '', frames: 135 });
  });

  it('plays up to the last whole fragment when the end is cut off anywhere', async () => {
    const bytes = await readFile(path.join(folder, 'av.mp4'));
    const cut = path.join(folder, 'cut.mp4');
    await writeFile(cut, bytes.subarray(0, bytes.length - 3_000));
    expect(decode(cut, 'v').frames).toBeGreaterThanOrEqual(119);
  });

  it('keeps a place for audio that comes after the header, at its time', async () => {
    const video = track(h264, 'video');
    const audio = track(h264, 'audio');
    const { file, muxer } = await openMuxer({
      name: 'late.mp4',
      container: 'mp4-fragmented',
      kinds: ['video', 'audio'],
      expectedFormats: [audio.format],
    });
    muxer.addTrack(video.format);
    const late = shift(audio.packets.slice(0, 60), 3_500_000);
    for (const packet of interleave(video.packets, late)) {
      muxer.write(packet);
    }
    await muxer.finish();
    const read = await readBack(file, 'audio');
    expect(read).toHaveLength(60);
    expect(Math.abs((read[0]?.ptsUs ?? 0) - 3_500_000)).toBeLessThan(30);
  });

  it('becomes a normal MP4 with the index in front, no packet changed', async () => {
    const source = path.join(folder, 'av.mp4');
    const target = path.join(folder, 'av-final.mp4');
    await remux({ ffmpegPath: FFMPEG, container: 'mp4', inputPath: source, outputPath: target });
    const bytes = await readFile(target);
    expect(bytes.indexOf('moov')).toBeLessThan(bytes.indexOf('mdat'));
    expect(bytes.indexOf('moof')).toBe(-1);
    const [before, after] = [await readBack(source, 'video'), await readBack(target, 'video')];
    expect(after.map(({ data }) => data.toString('hex'))).toEqual(
      before.map(({ data }) => data.toString('hex')),
    );
    after.forEach((packet, i) => {
      expect(Math.abs(packet.ptsUs - (before[i]?.ptsUs ?? 0))).toBeLessThan(1_500);
    });
  });

  it('starts at the first key frame and drops what runs backwards', async () => {
    const { file, muxer } = await openMuxer({
      name: 'order.mp4',
      container: 'mp4-fragmented',
      kinds: ['video'],
    });
    const { format, packets } = track(h264, 'video');
    muxer.addTrack(format);
    const [key, ...deltas] = packets;
    for (const packet of [
      ...deltas.slice(0, 3),
      ...(key ? [shift([key], 200_000)[0] ?? key] : []),
      ...deltas.slice(10, 20),
      ...deltas.slice(12, 14),
    ]) {
      muxer.write(packet);
    }
    await muxer.finish();
    expect(muxer.stats).toMatchObject({ packets: 11, droppedPackets: 5 });
    expect((await readBack(file, 'video'))[0]).toMatchObject({ key: true, ptsUs: 0 });
  });
});

describe('WebM and Ogg', () => {
  it.each([
    ['webm', 'video', 'v'],
    ['ogg', 'audio', 'a'],
  ] as const)(
    '%s holds every packet untouched and plays when the writer dies',
    async (container, kind, stream) => {
      const { file, muxer, errors } = await openMuxer({ name: `one.${container}`, container, kinds: [kind] });
      const { format, packets } = track(vp8, kind);
      muxer.addTrack(format);
      for (const packet of shift(packets, 5e9)) {
        muxer.write(packet);
      }
      const payloadBytes = packets.reduce((sum, packet) => sum + packet.data.length, 0);
      await expect
        .poll(async () => (await stat(file)).size, { timeout: 15_000 })
        .toBeGreaterThan(payloadBytes * 0.65);
      const crashed = path.join(folder, `crashed.${container}`);
      await writeFile(crashed, await readFile(file));
      expect(decode(crashed, stream).frames).toBeGreaterThanOrEqual(packets.length * 0.6);
      await muxer.finish();
      expect(errors).toEqual([]);
      const read = await readBack(file, kind);
      expect(read.map(({ data }) => data.toString('hex'))).toEqual(
        packets.map(({ data }) => Buffer.from(data).toString('hex')),
      );
      expect(read[0]?.ptsUs).toBe(0);
      expect(decode(file, stream).errors).toBe('');
      expect(muxer.stats).toMatchObject({ packets: packets.length, droppedPackets: 0 });
    },
  );

  it('fills a hole in Opus (mute, DTX) with silence instead of moving later sound forward', async () => {
    const { file, muxer } = await openMuxer({ name: 'hole.ogg', container: 'ogg', kinds: ['audio'] });
    const { format, packets } = track(vp8, 'audio');
    muxer.addTrack(format);
    muxer.write({ kind: 'audio', ptsUs: -1, dtsUs: -1, durationUs: 0, key: true, data: new Uint8Array() });
    for (const packet of [...packets.slice(0, 50), ...shift(packets.slice(50), 2_000_000)]) {
      muxer.write(packet);
    }
    await muxer.finish();
    const read = await readBack(file, 'audio');
    expect(read.length).toBe(packets.length + 99);
    expect(muxer.stats.durationUs).toBe((packets.length + 99) * 20_000);
    expect(decode(file, 'a').errors).toBe('');
  });

  it('refuses what a container cannot hold, by name', async () => {
    const sink = { write: () => Promise.resolve(), close: () => Promise.resolve() };
    const options = { sink, logger, onError: () => undefined };
    expect(() => createMuxer({ ...options, container: 'webm', kinds: ['video', 'audio'] })).toThrow(
      /exactly one track/,
    );
    const muxer = createMuxer({ ...options, container: 'webm', kinds: ['video'] });
    expect(() => muxer.addTrack(track(h264, 'video').format)).toThrow(
      /webm recordings hold vp8, vp9, not h264/,
    );
    await muxer.finish();
  });
});

it('reports a full disk once, keeps running, and says so at the end', async () => {
  let written = 0;
  const errors: Error[] = [];
  const muxer = createMuxer({
    container: 'mp4-fragmented',
    kinds: ['video'],
    logger,
    onError: (error) => errors.push(error),
    sink: {
      write: (data) => {
        written += data.length;
        return written > 30_000
          ? Promise.reject(new Error('ENOSPC: no space left on device'))
          : Promise.resolve();
      },
      close: () => Promise.resolve(),
    },
  });
  const { format, packets } = track(h264, 'video');
  muxer.addTrack(format);
  for (const packet of packets) {
    muxer.write(packet);
  }
  await expect(muxer.finish()).rejects.toThrow(/ENOSPC/);
  expect(errors).toHaveLength(1);
});
