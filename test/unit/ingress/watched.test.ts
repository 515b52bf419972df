import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLogger } from '../../../services/base/logger.ts';
import { VideoPipeline } from '../../../services/ingress/publish/video-pipeline.ts';
import { buildAvcConfig } from '../../../services/media/codecs/h264-avcc.ts';
import { joinLengthPrefixed, NAL_TYPE, nalType, splitAnnexB } from '../../../services/media/codecs/h264.ts';
import type { IngressSettings } from '../../../services/model/ingress.ts';
import type { EncodedPacket } from '../../../services/model/packet.ts';
import { encodeMedia, type EncodedMedia } from '../../support/encoded-media.ts';

const TOP = { width: 320, height: 180, framerate: 30, bitrateKbps: 300 };
const SETTINGS: IngressSettings['video'] = {
  ...{ name: '', source: 'unknown', codec: 'h264', targetIsLimit: true, mayTranscode: true },
  target: TOP,
  layers: [{ width: 160, height: 90, bitrateKbps: 100 }, TOP],
};
/** One key frame at the start and one after two seconds. */
let film: NonNullable<EncodedMedia['video']>;
let pipeline: VideoPipeline;
const lower: EncodedPacket[] = [];
const watchers = new Set<() => void>();

beforeAll(async () => {
  const { video } = await encodeMedia({ video: 'h264', seconds: 4, keyIntervalS: 2, size: TOP });
  film = video ?? expect.fail('no film');
  pipeline = new VideoPipeline({
    settings: SETTINGS,
    ffmpegPath: process.env['FFMPEG_PATH'] ?? 'ffmpeg',
    logger: createLogger({ level: 'silent' }),
  });
  pipeline.events.on('packet', (packet) => {
    if (packet.kind === 'video' && packet.layer === 0) {
      lower.push(packet);
      watchers.forEach((check) => check());
    }
  });
  const units = splitAnnexB(film.packets[0]?.data ?? Buffer.alloc(0));
  const sets = (type: number): Uint8Array[] => units.filter((nal) => nalType(nal) === type);
  const config = buildAvcConfig(sets(NAL_TYPE.sps), sets(NAL_TYPE.pps));
  pipeline.push(0, 'h264', { packet: 'config', data: Buffer.from(config) });
});
afterAll(() => pipeline.close());

/** The film's pictures from one to the other, as an encoder sends them. */
function play(from: number, to: number): void {
  for (const { ptsUs, key, data } of film.packets.slice(from, to)) {
    const unit = joinLengthPrefixed(splitAnnexB(data));
    pipeline.push(ptsUs, 'h264', { packet: 'frame', key, compositionMs: 0, data: unit });
  }
}

/** ffmpeg's times are as exact as its containers'. */
function ms(packet: EncodedPacket | undefined): number {
  return Math.round((packet?.ptsUs ?? Number.NaN) / 1000);
}

function lowerCount(count: number): Promise<void> {
  return new Promise((resolve) => {
    const check = (): void => {
      if (lower.length >= count) {
        watchers.delete(check);
        resolve();
      }
    };
    watchers.add(check);
    check();
  });
}

test('layers nobody watches are not encoded; whoever comes gets a key frame of the next picture, in rising time', async () => {
  play(0, 10);
  await lowerCount(9); // ffmpeg holds the last one until the next comes
  expect([lower[0]?.key, ms(lower[0])]).toEqual([true, ms(film.packets[0])]);

  pipeline.setWatched(false);
  play(10, 75); // over the key frame at 60
  pipeline.setWatched(true);
  play(75, 90);
  await lowerCount(9 + 15);
  const [first, ...others] = lower.slice(9);
  expect([first?.key, ms(first)]).toEqual([true, ms(film.packets[74])]);
  expect(others.map(ms)).toEqual(film.packets.slice(75, 89).map(ms));
  expect(others.filter(({ key }) => key)).toEqual([]);
});
