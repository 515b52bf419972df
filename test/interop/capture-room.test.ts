import { execFileSync } from 'node:child_process';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { chooseLayout } from '../../layouts/layout-choice.ts';
import type { Placement } from '../../layouts/layout-types.ts';
import { RoomInternal } from '../../services/bus/rpc-methods.ts';
import type { PageSourceOptions } from '../../services/egress/sources/page-source-types.ts';
import {
  createCaptureFixture,
  pageSourceOptions,
  recordPage,
  type CaptureFixture,
} from '../support/capture-page.ts';
import { expectCaptured } from '../support/captured-report.ts';
import { encodeClip, publishClip, type Clip } from '../support/clip-publisher.ts';
import { analyzeFlashBeep } from '../support/flash-beep.ts';
import { freshName } from '../support/fresh-name.ts';
import { watchMachine } from '../support/machine-load.ts';
import { startSfuServer, type SfuServer } from '../support/sfu-server.ts';

const SIZE = { width: 640, height: 360, framesPerSecond: 30 };
const TEAL = ['-f', 'lavfi', '-i', 'color=c=0x136f63:size=640x360:rate=30,noise=alls=4:allf=t'];
const PLUM = ['-f', 'lavfi', '-i', 'color=c=0x8e3b8a:size=640x360:rate=30,noise=alls=4:allf=t'];

let fixture: CaptureFixture;
let server: SfuServer;
let flashBeep: Clip;
let teal: Clip;
let plum: Clip;
const publishers: { close(): Promise<void> }[] = [];

beforeAll(async () => {
  fixture = await createCaptureFixture();
  server = await startSfuServer();
  flashBeep = await encodeClip({ ...SIZE, seconds: 10, bitrateKbps: 800, background: 'motion' });
  teal = await encodeClip({ ...SIZE, seconds: 4, bitrateKbps: 500, picture: TEAL, beeps: false });
  plum = await encodeClip({ ...SIZE, seconds: 4, bitrateKbps: 500, picture: PLUM, beeps: false });
});

afterEach(async () => {
  await Promise.all(publishers.splice(0).map((publisher) => publisher.close()));
});
afterAll(async () => {
  await server.close();
  await fixture.remove();
});

async function publish(
  room: string,
  name: string,
  clip: Clip,
  more: { kinds?: ('video' | 'audio')[]; source?: 'camera' | 'screen_share' } = {},
): Promise<void> {
  const token = await server.joinToken(name, room, { name });
  publishers.push(await publishClip({ wsUrl: server.wsUrl, token, clip, ...more }));
}

async function compositeOptions(
  room: string,
  layout: string,
  overrides: Partial<PageSourceOptions> = {},
): Promise<PageSourceOptions> {
  const token = await server.joinToken(`EG_${room}`, room, {
    kind: 'egress',
    video: { hidden: true, recorder: true, canPublish: false, canPublishData: false },
  });
  return pageSourceOptions(fixture, '', {
    target: { kind: 'template', baseUrl: undefined, layout, token, wsUrl: server.wsUrl },
    ...overrides,
  });
}

test('a participant is recorded at full rate with picture and sound together', async () => {
  const room = freshName('solo');
  await publish(room, 'Ada', flashBeep);
  const load = watchMachine();
  const recording = await recordPage(await compositeOptions(room, 'grid'), 14);
  const wasBusy = load();
  const report = await analyzeFlashBeep(recording.file);
  expectCaptured(report, { recordedS: 14, wasBusy });
  expect(report.singleStepRatio).toBeGreaterThan(0.1);
});

test('layouts place people and screens, follow metadata, and end with the room', async () => {
  const room = freshName('meeting');
  await publish(room, 'Ada', teal);
  await publish(room, 'Grace', plum);
  const options = await compositeOptions(room, 'grid-light');
  const momentsS: number[] = [];
  const recording = await recordPage(options, 40, async (source) => {
    let nowS = 0;
    source.events.on('packet', ({ ptsUs }) => {
      nowS = ptsUs / 1e6;
    });
    /** Lets the picture settle and notes its place in the recording. */
    const settle = async (seconds: number): Promise<void> => {
      await sleep(seconds * 1000);
      momentsS.push(nowS - 0.3);
    };
    await settle(2);
    await publish(room, 'Katherine', plum, { kinds: ['audio'] });
    await settle(2);
    await publish(room, 'Alan', teal, { kinds: ['video'], source: 'screen_share' });
    await settle(4);
    await server.bus.request(RoomInternal.updateParticipant, {
      room,
      identity: `EG_${room}`,
      metadata: '{"layout":"single-speaker"}',
    });
    await settle(2);
    await server.bus.request(RoomInternal.deleteRoom, { room });
  });
  expect(recording.ends).toEqual([{ reason: 'source_closed' }]);

  const two = places('grid', ['camera', 'camera']);
  const atStart = readPicture(recording.file, momentsS[0]);
  expect(atStart(two[0])).toSatisfy(near([0x13, 0x6f, 0x63]));
  expect(atStart(two[1])).toSatisfy(near([0x8e, 0x3b, 0x8a]));
  expect(atStart({ x: 0, y: 0, width: 40, height: 40 })).toSatisfy(near([0xf4, 0xf5, 0xf7]));

  const three = places('grid', ['camera', 'camera', 'camera']);
  const withVoice = readPicture(recording.file, momentsS[1]);
  expect(withVoice(corner(three[2]))).toSatisfy(near([0xdd, 0xe1, 0xe7]));

  const shared = places('speaker', ['screen', 'camera', 'camera', 'camera']);
  const withScreen = readPicture(recording.file, momentsS[2]);
  expect(withScreen(shared[0])).toSatisfy(near([0x13, 0x6f, 0x63]));

  const switched = readPicture(recording.file, momentsS[3]);
  expect(switched({ x: 1200, y: 330, width: 60, height: 60 })).toSatisfy(near([0x13, 0x6f, 0x63]));
});

test('while nobody publishes nothing starts, and the wrong token is a template error', async () => {
  const { createPageSource } = await import('../../services/egress/sources/page-source.ts');
  const start = async (options: PageSourceOptions): Promise<unknown> => {
    const source = createPageSource(options);
    try {
      return await source.start(new AbortController().signal);
    } finally {
      await source.close('test over');
    }
  };
  await expect(
    start(await compositeOptions(freshName('empty'), 'grid', { startTimeoutMs: 4000 })),
  ).rejects.toMatchObject({
    code: 'failed_precondition',
    message: expect.stringMatching(/^Start signal not received: /) as string,
  });
  const target = {
    kind: 'template',
    baseUrl: undefined,
    layout: 'grid',
    token: 'no-token',
    wsUrl: server.wsUrl,
  } as const;
  await expect(start(pageSourceOptions(fixture, '', { target }))).rejects.toMatchObject({
    code: 'invalid_argument',
    message: expect.stringMatching(/^template error: could not join the room/) as string,
  });
});

/** Where the layout puts tiles of these roles at 720p. */
function places(layout: string, roles: ('camera' | 'screen')[]): Placement[] {
  const tiles = roles.map((role, index) => ({ id: String(index), role, aspectRatio: 16 / 9 }));
  return chooseLayout(layout, false).arrange(tiles, { width: 1280, height: 720 });
}

type Area = { x: number; y: number; width: number; height: number };

function corner(area: Area | undefined): Area {
  return { x: (area?.x ?? 0) + 16, y: (area?.y ?? 0) + 16, width: 40, height: 40 };
}

/** Decodes the frame at `atS`; the function tells the mean colour in the middle of an area. */
function readPicture(file: string, atS = 0): (area: Area | undefined) => number[] {
  const picture = execFileSync(
    'ffmpeg',
    [
      ...['-v', 'error', '-ss', String(atS), '-i', file, '-frames:v', '1'],
      ...['-pix_fmt', 'rgb24', '-f', 'rawvideo', '-'],
    ],
    { maxBuffer: 1e8 },
  );
  return (area) => {
    const sum = [0, 0, 0];
    const centerX = Math.round((area?.x ?? 0) + (area?.width ?? 0) / 2);
    const centerY = Math.round((area?.y ?? 0) + (area?.height ?? 0) / 2);
    for (let y = centerY - 8; y < centerY + 8; y += 1) {
      for (let x = centerX - 8; x < centerX + 8; x += 1) {
        for (let channel = 0; channel < 3; channel += 1) {
          sum[channel] = (sum[channel] ?? 0) + (picture[(y * 1280 + x) * 3 + channel] ?? 0) / 256;
        }
      }
    }
    return sum.map(Math.round);
  };
}

function near(expected: number[]): (actual: number[]) => boolean {
  return (actual) => expected.every((value, channel) => Math.abs(value - (actual[channel] ?? -99)) <= 14);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
