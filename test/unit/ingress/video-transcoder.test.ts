import { afterEach, expect, test } from 'vitest';
import { createLogger } from '../../../services/base/logger.ts';
import { VideoTranscoder } from '../../../services/ingress/publish/video-transcoder.ts';
import { NAL_TYPE, nalType, splitAnnexB } from '../../../services/media/codecs/h264.ts';
import { encodeMedia } from '../../support/encoded-media.ts';

const SIZE = { width: 160, height: 90 };
const FPS = 30;

let transcoder: VideoTranscoder | undefined;

afterEach(async () => {
  await transcoder?.close();
});

/** A live clock moves by any amount: 17 ms put every third picture on the edge between two steps of 1/30 s. */
test.each([0, 17])('pictures keep their times, %s ms off the steps of their rate', async (offMs) => {
  const { video } = await encodeMedia({ video: 'h264', seconds: 2, keyIntervalS: 1, size: SIZE });
  const pictures = (video?.packets ?? []).map(({ data, key }, index) => {
    const units = splitAnnexB(data);
    const timeUs = Math.round((index * 1000) / FPS + (index === 0 ? 0 : offMs)) * 1000;
    return { key, data, nals: units, dtsUs: timeUs, ptsUs: timeUs };
  });
  const sets = (type: number): Uint8Array[] =>
    pictures[0]?.nals.filter((nal) => nalType(nal) === type) ?? expect.fail('no picture');
  transcoder = new VideoTranscoder({
    ffmpegPath: process.env['FFMPEG_PATH'] ?? 'ffmpeg',
    target: { codec: 'h264', framerate: FPS, layers: [{ ...SIZE, bitrateKbps: 100 }] },
    parameterSets: { sps: sets(NAL_TYPE.sps), pps: sets(NAL_TYPE.pps) },
    logger: createLogger({ level: 'silent' }),
  });
  const timesMs: number[] = [];
  transcoder.events.on('frame', ({ ptsUs }) => timesMs.push(Math.round(ptsUs / 1000)));
  for (const picture of pictures) {
    transcoder.write(picture);
  }
  await transcoder.close();
  expect(timesMs).toEqual(pictures.map(({ ptsUs }) => ptsUs / 1000));
});
