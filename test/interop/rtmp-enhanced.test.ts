import { afterAll, afterEach, expect, test, vi } from 'vitest';
import { flashBeepInputs } from '../../fixtures/flash-beep.ts';
import { readOnsets } from '../support/onsets.ts';
import {
  enhancedBody,
  enhancedMessages,
  sendPaced,
  type EnhancedAudio,
  type EnhancedOptions,
  type EnhancedVideo,
} from '../support/enhanced-rtmp.ts';
import { oneAfterTheOther } from '../support/generated-encoder.ts';
import {
  ENDPOINT_ERROR,
  ENDPOINT_PUBLISHING,
  startIngressHarness,
  STREAM_KEY,
  type IngressHarness,
} from '../support/ingress-harness.ts';
import { RtmpClient } from '../support/rtmp-client.ts';
import { disposeRtcNode, RtcNodeViewer } from '../support/rtc-node-viewer.ts';
import { API_KEY, API_SECRET, startSfuServer, type SfuServer } from '../support/sfu-server.ts';

// Films are encoded within the tests.
vi.setConfig({ testTimeout: 180_000 });

const FPS = 30;
const PICTURE = { width: 640, height: 360, framesPerSecond: FPS };
const SECONDS = 7;

let sfu: SfuServer | undefined;
let harness: IngressHarness | undefined;
let client: RtmpClient | undefined;
let viewer: RtcNodeViewer | undefined;

afterEach(async () => {
  client?.close();
  await viewer?.close();
  await harness?.close();
  await sfu?.close();
  [client, viewer, harness, sfu] = [undefined, undefined, undefined, undefined];
});
afterAll(() => disposeRtcNode());

function source(): string[] {
  return [...flashBeepInputs({ ...PICTURE, realTime: false }), '-t', String(SECONDS)];
}

test.each<{
  video: EnhancedVideo;
  audio: EnhancedAudio;
  form: EnhancedOptions;
  treatment: string;
}>([
  { video: 'avc1', audio: 'mp4a', form: { modEx: true, multitrack: 'many' }, treatment: 'passthrough' },
  { video: 'vp08', audio: 'Opus', form: { multitrack: 'manyCodecs' }, treatment: 'passthrough' },
  { video: 'vp09', audio: 'Opus', form: { metadata: true }, treatment: 'passthrough' },
  {
    video: 'hvc1',
    audio: 'Opus',
    form: { modEx: true },
    treatment: 'transcode: HEVC, which not every browser decodes',
  },
  { video: 'av01', audio: 'mp4a', form: { multitrack: 'one' }, treatment: 'passthrough' },
])("LiveKit's Rust client sees and hears $video with $audio ($treatment)", async (example) => {
  const messages = await enhancedMessages({ ...example, source: source(), fps: FPS });
  sfu = await startSfuServer({ sfu: {} });
  harness = await startIngressHarness({ room: { wsUrl: sfu.wsUrl, apiKey: API_KEY, apiSecret: API_SECRET } });
  viewer = new RtcNodeViewer();
  const { frames, sound } = viewer;
  await viewer.join(sfu.wsUrl, await sfu.joinToken('viewer', 'studio'));
  client = new RtmpClient(harness.ingress.rtmpPort).publish(STREAM_KEY);
  expect((await client.status()).code).toBe('NetStream.Publish.Start');
  // Twice if need be: on a busy machine the viewer comes late.
  void sendPaced(client, oneAfterTheOther(messages, messages));
  const flashes = (): number => readOnsets(frames.map(({ flash }) => flash));
  const beeps = (): number => readOnsets(sound.map(({ beep }) => beep));
  await viewer.until(() => frames.length >= 75 && flashes() >= 2 && beeps() >= 2);

  const state = await harness.stateThat(
    ({ status, video }) => status === ENDPOINT_PUBLISHING && video?.width === 640,
  );
  expect(viewer.attributesOf('obs')['sluice.ingress.video']).toBe(example.treatment);
  expect(frames[0]).toMatchObject({ width: PICTURE.width, height: PICTURE.height });
  const codes = frames.map(({ barcode }) => barcode);
  expect(new Set(codes).size).toBeGreaterThanOrEqual(70);
  const backwards = codes.filter((code, index) => code < (codes[index - 1] ?? 0));
  expect(backwards.length).toBeLessThanOrEqual(1);
  const mime = { avc1: 'h264', hvc1: 'h265', vp08: 'vp8', vp09: 'vp9', av01: 'av1' }[example.video];
  expect(state.video?.mimeType).toBe(`video/${mime}`);
});

test('VP9 and Opus reach the room byte for byte', async () => {
  const messages = await enhancedMessages({ source: source(), video: 'vp09', audio: 'Opus', fps: FPS });
  harness = await startIngressHarness();
  const { room, ingress, stateThat } = harness;
  client = new RtmpClient(ingress.rtmpPort).publish(STREAM_KEY);
  await client.status();
  await sendPaced(
    client,
    messages.filter(({ timestampMs }) => timestampMs < 2_000),
  );
  const sent = (typeId: number): string[] =>
    messages
      .filter((message) => message.typeId === typeId && message.timestampMs < 2_000)
      .filter(({ payload }) => ((payload[0] ?? 0) & 15) === 1)
      .map(({ payload }) => payload.subarray(5).toString('base64'));
  await room.until(
    () => room.packets('video').length >= sent(9).length && room.packets('audio').length >= sent(8).length,
  );
  const got = (kind: 'video' | 'audio'): string[] =>
    room.packets(kind).map(({ data }) => Buffer.from(data).toString('base64'));
  expect(got('video')).toEqual(sent(9));
  expect(got('audio')).toEqual(sent(8));
  expect(room.track('audio')?.options.format).toMatchObject({ codec: 'opus', channels: 2 });
  const state = await stateThat(({ audio, video }) => audio !== undefined && video !== undefined);
  expect(state).toMatchObject({
    audio: { mimeType: 'audio/opus' },
    video: { mimeType: 'video/vp9', width: 640 },
  });
});

test.each([
  ['video', 9, 'vvc1', 'video codec not supported: codec "vvc1"'],
  ['audio', 8, 'mhm1', 'audio codec not supported: codec "mhm1"'],
] as const)(
  'an unknown %s codec is named to the encoder and in the state',
  async (kind, typeId, fourCc, reason) => {
    harness = await startIngressHarness();
    client = new RtmpClient(harness.ingress.rtmpPort).publish(STREAM_KEY);
    await client.status();
    const head = kind === 'video' ? 0x10 : 0x90;
    client.send({
      typeId,
      payload: enhancedBody({ kind, head, fourCc, packetType: 0, data: Buffer.alloc(4) }),
    });
    await client.closed;
    expect(client.statuses().at(-1)?.description).toContain(reason);
    const state = await harness.stateThat(({ status }) => status === ENDPOINT_ERROR);
    expect(state.error).toContain(reason);
  },
);
