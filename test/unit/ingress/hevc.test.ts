import { expect, test } from 'vitest';
import { createLogger } from '../../../services/base/logger.ts';
import { VideoPipeline } from '../../../services/ingress/publish/video-pipeline.ts';
import { parseHevcSps } from '../../../services/media/codecs/h265.ts';
import { joinLengthPrefixed } from '../../../services/media/codecs/h264.ts';
import type { IngressSettings } from '../../../services/model/ingress.ts';
import { HEVC_SPS, hevcConfig } from '../../support/hevc-samples.ts';

const HD = { width: 1280, height: 720, framerate: 30, bitrateKbps: 1_900 };
const IDR = Uint8Array.of(0x26, 1, 2, 3);
const P_SLICE = Uint8Array.of(0x02, 1, 2, 3);

/** Like an endpoint with enable_transcoding = false, where HEVC passes. */
function pipeline(): {
  verdicts: unknown[];
  keyFrame: (sps: Uint8Array) => void;
  delta: (ms: number, compositionMs: number) => void;
} {
  const settings: IngressSettings['video'] = {
    ...{ name: '', source: 'unknown', target: HD, layers: [HD], codec: 'h264' },
    ...{ targetIsLimit: false, mayTranscode: false },
  };
  const logger = createLogger({ level: 'silent' });
  const video = new VideoPipeline({ settings, ffmpegPath: '/nonexistent', logger });
  const verdicts: unknown[] = [];
  video.events.on('verdict', (verdict) => verdicts.push(verdict));
  return {
    verdicts,
    keyFrame: (sps) => {
      video.push(0, 'h265', { packet: 'config', data: hevcConfig(sps) });
      const data = joinLengthPrefixed([IDR]);
      video.push(0, 'h265', { packet: 'frame', key: true, compositionMs: 0, data });
    },
    delta: (ms, compositionMs) => {
      const data = joinLengthPrefixed([P_SLICE]);
      video.push(ms * 1_000, 'h265', { packet: 'frame', key: false, compositionMs, data });
    },
  };
}

test.each([
  ['main', '4:2:0', 8, true, 0],
  ['mainWithBFrames', '4:2:0', 8, true, 2],
  ['main10', '4:2:0', 10, true, 0],
  ['gray', '4:0:0', 8, true, 0],
  ['main422', '4:2:2', 8, true, 0],
  ['main444', '4:4:4', 8, true, 0],
  ['interlaced', '4:2:0', 8, false, 0],
] as const)('%s: the parameter set is read', (name, chromaFormat, bitDepth, progressive, reorder) => {
  expect(parseHevcSps(HEVC_SPS[name])).toEqual({
    ...{ width: 640, height: 360, chromaFormat, bitDepth, progressive, maxReorderPictures: reorder },
  });
});

test('a parameter set that is cut off anywhere is refused', () => {
  const sps = HEVC_SPS.main;
  for (const length of [2, 10, 16, 20, 24]) {
    expect(() => parseHevcSps(sps.subarray(0, length))).toThrow('is cut off');
  }
});

test('8-bit 4:2:0 passes at once where nothing else is allowed', () => {
  const { keyFrame, verdicts } = pipeline();
  keyFrame(HEVC_SPS.main);
  expect(verdicts).toEqual([{ mode: 'passthrough' }]);
});

test.each([
  ['main10', '10-bit samples'],
  ['main422', '4:2:2 chroma'],
  ['main444', '4:4:4 chroma'],
  ['gray', '4:0:0 chroma'],
  ['interlaced', 'interlaced'],
] as const)('%s is refused with the reason', (name, reason) => {
  const { keyFrame } = pipeline();
  expect(() => keyFrame(HEVC_SPS[name])).toThrow(
    expect.objectContaining({
      code: 'failed_precondition',
      message: `video cannot pass through (${reason}) and enable_transcoding is false: change the encoder or the ingress`,
    }),
  );
});

test('pictures that are really reordered are refused, pictures that only may be are not', () => {
  const inOrder = pipeline();
  inOrder.keyFrame(HEVC_SPS.mainWithBFrames);
  [33, 66, 99].forEach((ms) => inOrder.delta(ms, 0));
  expect(inOrder.verdicts).toEqual([{ mode: 'passthrough' }]);
  const reordered = pipeline();
  reordered.keyFrame(HEVC_SPS.mainWithBFrames);
  reordered.delta(33, 99);
  expect(() => reordered.delta(66, 0)).toThrow('B-frames');
});
