import {
  IngressAudioEncodingPreset,
  IngressVideoEncodingOptions,
  TrackSource,
  VideoLayer,
} from '@livekit/protocol';
import type { Page } from 'puppeteer';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { RoomInternal } from '../../services/bus/rpc-methods.ts';
import { launchChromium, type TestBrowser } from '../support/chromium.ts';
import {
  ENDPOINT_ERROR,
  ENDPOINT_INACTIVE,
  ENDPOINT_PUBLISHING,
  STREAM_KEY,
} from '../support/ingress-harness.ts';
import { ObsLikeEncoder } from '../support/obs-like-encoder.ts';
import { disposeRtcNode, type RtcNodeViewer } from '../support/rtc-node-viewer.ts';
import { openWhipPage, serveWhipPage, type WhipResource } from '../support/whip-page.ts';
import { startWhipStage, type WhipStage } from '../support/whip-stage.ts';

/** What the endpoint asks for: nothing an encoder of these tests sends. */
const SMALL = { width: 320, height: 180, framesPerSecond: 15 };
const INFO = {
  enableTranscoding: true,
  video: {
    name: 'picture',
    source: TrackSource.CAMERA,
    encodingOptions: {
      case: 'options' as const,
      value: new IngressVideoEncodingOptions({
        frameRate: SMALL.framesPerSecond,
        layers: [new VideoLayer({ width: SMALL.width, height: SMALL.height, bitrate: 300_000 })],
      }),
    },
  },
  audio: {
    name: 'sound',
    source: TrackSource.MICROPHONE,
    encodingOptions: { case: 'preset' as const, value: IngressAudioEncodingPreset.OPUS_MONO_64KBS },
  },
};

let browser: TestBrowser;
let stage: WhipStage;
const events: string[] = [];
const pages: Page[] = [];
const encoders: ObsLikeEncoder[] = [];

beforeAll(async () => {
  browser = await launchChromium();
});
afterEach(async () => {
  encoders.splice(0).forEach((encoder) => {
    encoder.drop();
  });
  await Promise.all(pages.splice(0).map((page) => page.close()));
  await stage.close();
});
afterAll(async () => {
  await browser.close();
  await disposeRtcNode();
});

async function openStage(): Promise<RtcNodeViewer> {
  events.length = 0;
  stage = await startWhipStage({
    info: INFO,
    onRequest: serveWhipPage,
    sfuOptions: { onRoomEvent: ({ event, room }) => void events.push(`${event ?? ''} ${room?.name ?? ''}`) },
  });
  return stage.viewer();
}

test.each(['h264', 'h265'] as const)(
  'an encoder like OBS that sends %s is decoded and encoded as its endpoint says',
  async (codec) => {
    const viewer = await openStage();
    const encoder = await ObsLikeEncoder.start({
      url: stage.harness.whipUrl,
      bearer: STREAM_KEY,
      layers: [{ width: 640, height: 360, bitrateKbps: 800 }],
      codec,
    });
    encoders.push(encoder);
    await expectFlashAndBeep(viewer);
    const state = await stage.harness.stateThat(
      ({ status, video }) => status === ENDPOINT_PUBLISHING && (video?.averageBitrate ?? 0) > 0,
    );
    // The state tells what comes in.
    expect(state.video).toMatchObject({ mimeType: `video/${codec.toUpperCase()}`, width: 640, height: 360 });
    const { participants } = await stage.sfu.bus.request(RoomInternal.listParticipants, { room: 'studio' });
    const obs = participants.find(({ identity }) => identity === 'obs');
    expect(obs?.attributes).toMatchObject({
      'ingress.ingressID': 'IN_test',
      'sluice.ingress.video': 'transcode: enable_transcoding',
    });
    expect(obs?.tracks.map(({ name, mimeType, width }) => ({ name, mimeType, width }))).toEqual(
      expect.arrayContaining([
        { name: 'picture', mimeType: 'video/H264', width: SMALL.width },
        { name: 'sound', mimeType: 'audio/opus', width: 0 },
      ]),
    );
    // Nobody is shown the room where the encoder's own packets arrive.
    const { rooms } = await stage.sfu.bus.request(RoomInternal.listRooms, {});
    expect(rooms.map(({ name, sid }) => ({ name, sid }))).toEqual([{ name: 'studio', sid: state.roomId }]);
    expect(events.filter((event) => !event.endsWith(' studio'))).toEqual([]);
    expect(await encoder.stop()).toBe(200);
    const final = await stage.harness.stateThat(({ status }) => status === ENDPOINT_INACTIVE);
    expect(final.error).toBe('');
    await expect.poll(() => viewer.participant('obs'), { timeout: 15_000 }).toBeUndefined();
  },
);

test('a browser is transcoded too, through an ICE restart and sizes that change', async () => {
  const viewer = await openStage();
  const page = await openWhipPage(browser, stage.sfu.httpUrl);
  pages.push(page);
  const request = JSON.stringify({ url: stage.harness.whipUrl, bearer: STREAM_KEY, codec: 'video/VP8' });
  const resource = (await page.evaluate(`app.publish(${request})`)) as WhipResource;
  expect(resource.status).toBe(201);
  await expectFlashAndBeep(viewer);
  const restarted = (await page.evaluate('app.restart()')) as { status: number };
  expect(restarted.status).toBe(200);
  await page.evaluate('app.scaleDownBy(4)');
  await viewer.until(() => viewer.frames.at(-1)?.width === 160);
  const before = viewer.frames.length;
  await viewer.until(() => viewer.frames.length >= before + 30);
  expect(await page.evaluate('app.stop()')).toBe(200);
  await stage.harness.stateThat(({ status }) => status === ENDPOINT_INACTIVE);
});

test('who is removed from the room hears of it, and the encoder is let go', async () => {
  const viewer = await openStage();
  const encoder = await ObsLikeEncoder.start({
    url: stage.harness.whipUrl,
    bearer: STREAM_KEY,
    layers: [{ width: 640, height: 360, bitrateKbps: 800 }],
  });
  encoders.push(encoder);
  await viewer.until(() => viewer.frames.length >= 5);
  await stage.sfu.bus.request(RoomInternal.removeParticipant, { room: 'studio', identity: 'obs' });
  const state = await stage.harness.stateThat(({ status }) => status === ENDPOINT_ERROR);
  expect(state.error).toContain('room disconnected');
  await expect.poll(() => stage.harness.ingress.activeIngressIds(), { timeout: 15_000 }).toEqual([]);
});

async function expectFlashAndBeep(viewer: RtcNodeViewer): Promise<void> {
  const { frames, sound } = viewer;
  const flashes = (): number => onsets(frames.map(({ flash }) => flash));
  const beeps = (): number => onsets(sound.map(({ beep }) => beep));
  await viewer.until(() => frames.length >= 45 && flashes() >= 2 && beeps() >= 2);
  expect(frames.at(-1)).toMatchObject({ width: SMALL.width, height: SMALL.height });
  expect(sound.some(({ rms }) => rms < 0.01)).toBe(true);
}

function onsets(series: readonly boolean[]): number {
  return series.filter((on, i) => on && series[i - 1] === false).length;
}
