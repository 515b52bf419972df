import { expect, test } from 'vitest';
import { presetLayers, VIDEO_PRESETS } from '../../../services/model/ingress.ts';
import { fitLayerCount, fitLayers } from '../../../services/ingress/publish/simulcast-layers.ts';

const sizes = (layers: readonly { width: number; height: number }[]): string[] =>
  layers.map(({ width, height }) => `${width}x${height}`);
const preset = (index: number) => presetLayers(VIDEO_PRESETS[index] ?? expect.fail('no such preset'));

test.each([
  [0, ['320x180', '640x360', '1280x720'], [237, 671, 1900]],
  [1, ['480x270', '960x540', '1920x1080'], [437, 1237, 3500]],
  [2, ['480x270', '960x540'], [353, 1000]],
  [3, ['1280x720'], [1900]],
  [4, ['1920x1080'], [3500]],
  [5, ['320x180', '640x360', '1280x720'], [312, 883, 2500]],
  [6, ['480x270', '960x540', '1920x1080'], [562, 1590, 4500]],
  [7, ['480x270', '960x540'], [459, 1300]],
  [8, ['1280x720'], [2500]],
  [9, ['1920x1080'], [4500]],
])("LiveKit's preset %i", (index, layers, bitratesKbps) => {
  expect(sizes(preset(index))).toEqual(layers);
  expect(preset(index).map(({ bitrateKbps }) => bitrateKbps)).toEqual(bitratesKbps);
});

test.each([
  ['the asked size', { width: 1280, height: 720 }, ['320x180', '640x360', '1280x720']],
  ['larger', { width: 1920, height: 1080 }, ['320x180', '640x360', '1280x720']],
  ['as small as a lower layer', { width: 640, height: 360 }, ['320x180', '640x360']],
  ['between layers', { width: 642, height: 362 }, ['320x180', '640x360', '642x362']],
  ['odd', { width: 641, height: 361 }, ['320x180', '640x360']],
  ['upright', { width: 720, height: 1280 }, ['180x320', '360x640', '720x1280']],
  ['of another shape', { width: 640, height: 480 }, ['240x180', '480x360', '640x480']],
  ['wide, so that a side comes out odd', { width: 1920, height: 800 }, ['320x134', '640x266', '1280x534']],
  ['tiny', { width: 160, height: 90 }, ['160x90']],
])('a picture that is %s gets layers no larger than itself', (_, source, expected) => {
  expect(sizes(fitLayers(preset(0), source))).toEqual(expected);
});

test('a track keeps its number of layers when the picture changes its size', () => {
  expect(sizes(fitLayerCount(preset(0), { width: 640, height: 360 }, 3))).toEqual([
    '160x90',
    '320x180',
    '640x360',
  ]);
  expect(sizes(fitLayerCount(preset(0), { width: 1920, height: 1080 }, 1))).toEqual(['1280x720']);
  expect(sizes(fitLayerCount(preset(3), { width: 1280, height: 720 }, 2))).toEqual(['640x360', '1280x720']);
});
