import {
  IngressVideoEncodingPreset,
  VideoCodec as WireCodec,
  VideoQuality,
  type IngressInfo,
} from '@livekit/protocol';
import type { PartialMessage } from '@bufbuild/protobuf';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { flashBeepInputs } from '../../fixtures/flash-beep.ts';
import type { EncodedPacket } from '../../services/model/packet.ts';
import { decodePackets } from '../support/decoded-packets.ts';
import { enhancedMessages, sendPaced, type TimedMessage } from '../support/enhanced-rtmp.ts';
import type { FakeTrack } from '../support/fake-room.ts';
import {
  ENDPOINT_ERROR,
  startIngressHarness,
  STREAM_KEY,
  type IngressHarness,
} from '../support/ingress-harness.ts';
import { RtmpClient } from '../support/rtmp-client.ts';

const FPS = 15;
const SECONDS = 3;
const FRAMES = FPS * SECONDS;
const SPEED = 3;

type Sample = 'avc1' | 'hvc1' | 'av01' | 'vp08' | 'bFrames' | 'small' | 'smallTrack' | 'sound' | 'opus';
const samples = new Map<Sample, TimedMessage[]>();
let harness: IngressHarness | undefined;
let client: RtmpClient | undefined;

function source(width: number, height: number): string[] {
  const picture = { width, height, framesPerSecond: FPS, realTime: false };
  return [...flashBeepInputs(picture), '-t', String(SECONDS)];
}

beforeAll(async () => {
  const [large, small] = [source(640, 360), source(320, 180)];
  const make = async (
    name: Sample,
    options: Omit<Parameters<typeof enhancedMessages>[0], 'fps'>,
  ): Promise<unknown> => samples.set(name, await enhancedMessages({ ...options, fps: FPS }));
  await make('avc1', { source: large, video: 'avc1' });
  await make('hvc1', {
    source: large,
    video: 'hvc1',
    encoder: ['-x265-params', 'log-level=error:bframes=0'],
  });
  await make('av01', { source: large, video: 'av01' });
  await make('vp08', { source: large, video: 'vp08' });
  await make('bFrames', { source: large, video: 'avc1', encoder: ['-tune', 'film', '-bf', '2'] });
  await make('small', { source: small, video: 'avc1' });
  await make('smallTrack', { source: small, video: 'avc1', form: { multitrack: 'one', trackId: 1 } });
  await make('sound', { source: large, audio: 'mp4a' });
  await make('opus', { source: large, audio: 'Opus' });
}, 240_000);

afterEach(async () => {
  client?.close();
  await harness?.close();
  [client, harness] = [undefined, undefined];
});

function sample(name: Sample, fromMs = 0): TimedMessage[] {
  const messages = samples.get(name) ?? expect.fail(`no sample ${name}`);
  return messages.map((message) => ({ ...message, timestampMs: message.timestampMs + fromMs }));
}

/** Sends faster than real time, which an encoder may do for a few seconds: what counts is what comes out. */
async function publish(
  info: PartialMessage<IngressInfo>,
  ...streams: TimedMessage[][]
): Promise<IngressHarness> {
  harness = await startIngressHarness({ info });
  client = new RtmpClient(harness.ingress.rtmpPort).publish(STREAM_KEY);
  expect((await client.status()).code).toBe('NetStream.Publish.Start');
  const messages = streams.flat().sort((a, b) => a.timestampMs - b.timestampMs);
  await sendPaced(client, messages, SPEED);
  return harness;
}

/** As OBS does: the sequence starts of all tracks, then pictures. */
function headersFirst(...streams: TimedMessage[][]): TimedMessage[][] {
  return [streams.flatMap((stream) => stream.slice(0, 1)), ...streams.map((stream) => stream.slice(1))];
}

function preset(value: IngressVideoEncodingPreset): PartialMessage<IngressInfo> {
  return { video: { encodingOptions: { case: 'preset', value } } };
}

function layerOf(track: FakeTrack | undefined, layer: number): EncodedPacket[] {
  return (track?.packets ?? []).filter((packet) => packet.layer === layer);
}

function layerSizes(track: FakeTrack | undefined): string[] {
  const format = track?.options.format;
  return format?.kind === 'video'
    ? (format.layers ?? [format]).map(({ width, height }) => `${width}x${height}`)
    : [];
}

const rising = (codes: readonly number[]): boolean =>
  codes.every((code, index) => index === 0 || code > (codes[index - 1] ?? 0));
const treatment = ({ room }: IngressHarness): string => room.attributes['sluice.ingress.video'] ?? '';
describe('simulcast', () => {
  test('asked for layers, a picture that passes gets the lower ones encoded below it', async () => {
    const { room } = await publish(
      preset(IngressVideoEncodingPreset.H264_720P_30FPS_3_LAYERS),
      sample('avc1'),
    );
    await room.until(
      () =>
        layerOf(room.track('video'), 0).length >= FRAMES - 2 &&
        layerOf(room.track('video'), 1).length >= FRAMES,
    );
    const track = room.track('video');
    expect(layerSizes(track)).toEqual(['320x180', '640x360']);
    const [low, top] = [decodePackets('h264', layerOf(track, 0)), decodePackets('h264', layerOf(track, 1))];
    expect([low.sizes, top.sizes]).toEqual([['320x180'], ['640x360']]);
    expect(rising(low.barcodes) && rising(top.barcodes)).toBe(true);
    expect([low.barcodes[0], low.barcodes.length >= FRAMES - 2]).toEqual([top.barcodes[0], true]);
    expect(treatment(harness ?? expect.fail())).toBe('passthrough, lower layers encoded');
  });

  test('without options a picture that passes stays alone', async () => {
    const { room } = await publish({}, sample('avc1'));
    await room.until(() => room.packets('video').length >= FRAMES);
    expect(layerSizes(room.track('video'))).toEqual(['640x360']);
    expect(treatment(harness ?? expect.fail())).toBe('passthrough');
  });

  test("what must be transcoded gets LiveKit's layers, none larger than the picture", async () => {
    const { room } = await publish({}, sample('bFrames'));
    await room.until(() => [0, 1].every((layer) => layerOf(room.track('video'), layer).length >= FRAMES - 4));
    const track = room.track('video');
    expect(layerSizes(track)).toEqual(['320x180', '640x360']);
    for (const [layer, size] of ['320x180', '640x360'].entries()) {
      const { sizes, barcodes } = decodePackets('h264', layerOf(track, layer));
      expect(sizes).toEqual([size]);
      expect(barcodes.length >= FRAMES - 4 && rising(barcodes)).toBe(true);
    }
    expect(treatment(harness ?? expect.fail())).toBe('transcode: B-frames');
  });

  test('VP8 is encoded in the layers that are asked for', async () => {
    const layers = [
      { quality: VideoQuality.LOW, width: 160, height: 90 },
      { quality: VideoQuality.HIGH, width: 480, height: 270 },
    ];
    const value = { videoCodec: WireCodec.VP8, frameRate: 15, layers };
    const { room } = await publish(
      { video: { encodingOptions: { case: 'options', value } } },
      sample('avc1'),
    );
    await room.until(() => [0, 1].every((layer) => layerOf(room.track('video'), layer).length >= FRAMES - 2));
    const track = room.track('video');
    expect(track?.options.format).toMatchObject({ codec: 'vp8', width: 480, height: 270 });
    for (const [layer, size] of ['160x90', '480x270'].entries()) {
      const { sizes, barcodes } = decodePackets('vp8', layerOf(track, layer));
      expect(sizes).toEqual([size]);
      expect(barcodes.length >= FRAMES - 2 && (layer === 0 || rising(barcodes))).toBe(true);
    }
    expect(treatment(harness ?? expect.fail())).toBe('transcode: H.264 is not the requested VP8');
  });

  test('the video tracks of a multitrack encoder are layers', async () => {
    const { room } = await publish({}, ...headersFirst(sample('avc1'), sample('smallTrack')));
    await room.until(() => [0, 1].every((layer) => layerOf(room.track('video'), layer).length >= FRAMES));
    const track = room.track('video');
    expect(layerSizes(track)).toEqual(['320x180', '640x360']);
    const [low, top] = [decodePackets('h264', layerOf(track, 0)), decodePackets('h264', layerOf(track, 1))];
    expect([low.sizes, top.sizes]).toEqual([['320x180'], ['640x360']]);
    expect(low.barcodes).toEqual(top.barcodes);
    expect(treatment(harness ?? expect.fail())).toBe('passthrough of several tracks');
  });
});

describe('changes while the stream runs keep the participant', () => {
  test('another codec takes the place of the track', async () => {
    const { room } = await publish({}, sample('avc1'), sample('av01', SECONDS * 1000));
    await room.until(() => room.tracks.length === 2 && (room.tracks[1]?.packets.length ?? 0) >= FRAMES);
    const [h264, av1] = room.tracks;
    expect([h264?.unpublished, av1?.unpublished]).toEqual([true, false]);
    expect(av1?.options.format).toMatchObject({ codec: 'av1', width: 640, height: 360 });
    const codes = decodePackets('av1', av1?.packets ?? []).barcodes;
    expect(codes.length >= FRAMES - 2 && rising(codes)).toBe(true);
    expect(room.connections).toHaveLength(1);
    expect(room.left).toEqual([]);
  });

  test('B-frames that appear are transcoded from their key frame on, in the same track', async () => {
    const { room } = await publish({}, sample('avc1'), sample('bFrames', SECONDS * 1000));
    await room.until(() => room.packets('video').length >= 2 * FRAMES - 4);
    expect(room.tracks).toHaveLength(1);
    const { sizes, barcodes } = decodePackets('h264', room.packets('video'));
    expect(sizes).toEqual(['640x360']);
    expect(barcodes.length).toBeGreaterThanOrEqual(2 * FRAMES - 4);
    expect(treatment(harness ?? expect.fail())).toBe('transcode: B-frames');
  });

  test('another resolution passes in the same track, and its lower layers follow', async () => {
    const { room } = await publish(
      preset(IngressVideoEncodingPreset.H264_720P_30FPS_3_LAYERS),
      sample('avc1'),
      sample('small', SECONDS * 1000),
    );
    await room.until(() =>
      [0, 1].every((layer) => layerOf(room.track('video'), layer).length >= 2 * FRAMES - 4),
    );
    const track = room.track('video');
    expect(room.tracks).toHaveLength(1);
    expect(decodePackets('h264', layerOf(track, 1)).sizes).toEqual(['640x360', '320x180']);
    expect(decodePackets('h264', layerOf(track, 0)).sizes).toEqual(['320x180', '160x90']);
  });

  test('sound that starts late is heard, and its codec may change', async () => {
    const { room } = await publish(
      {},
      [...sample('avc1'), ...sample('small', SECONDS * 1000)],
      [...sample('sound', 1_000), ...sample('opus', SECONDS * 1000 + 1_000)],
    );
    const opusFrames = sample('opus').length - 1;
    await room.until(() => room.packets('audio').length >= opusFrames - 2);
    expect(room.tracks.map(({ options }) => options.format.kind).sort()).toEqual(['audio', 'video']);
    const times = room.packets('audio').map(({ ptsUs }) => ptsUs);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(room.left).toEqual([]);
  });
});

describe('enable_transcoding = false', () => {
  const untouched = { enableTranscoding: false };

  test('HEVC passes, as nothing else is allowed', async () => {
    const { room } = await publish(untouched, sample('hvc1'));
    await room.until(() => room.packets('video').length >= FRAMES);
    expect(room.track('video')?.options.format).toMatchObject({ codec: 'h265', width: 640, height: 360 });
    expect(rising(decodePackets('h265', room.packets('video')).barcodes)).toBe(true);
  });

  test('what cannot pass is refused, to the encoder and in the state, with the reason', async () => {
    const { stateThat } = await publish(untouched, sample('bFrames'));
    const { error } = await stateThat(({ status }) => status === ENDPOINT_ERROR);
    expect(error).toContain('video cannot pass through (B-frames) and enable_transcoding is false');
    await client?.closed;
    expect(client?.statuses().at(-1)?.description).toContain('B-frames');
  });
});
