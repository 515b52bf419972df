import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  AccessToken,
  IngressClient,
  IngressInput,
  IngressVideoEncodingPreset,
  IngressVideoOptions,
  RoomServiceClient,
} from 'livekit-server-sdk';
import { IngressState_Status } from '@livekit/protocol';
import { createLogger } from '../../services/base/logger.ts';
import { connectRoom } from '../../services/rtc-client/room-client.ts';
import type { BenchRow } from '../support/bench-row.ts';
import { ffmpeg } from '../support/ffmpeg-encoder.ts';
import { until } from '../support/published-room.ts';
import { API_KEY, API_SECRET, startSluiceProcess, type SluiceProcess } from '../support/sluice-process.ts';
import { startWebFolder, type WebFolder } from '../support/web-folder.ts';
import { CLIP_SECONDS, makeBenchClip } from './bench-clip.ts';
import { coresOf } from './cores-of.ts';

const PICTURE = { width: 1920, height: 1080, framesPerSecond: 30, bitrateKbps: 6_000 };
const WARM_UP_S = 6;
const MEASURED_S = 12;
const PUBLISH_TIMEOUT_MS = 30_000;
const { H264_720P_30FPS_3_LAYERS, H264_1080P_30FPS_1_LAYER, H264_1080P_30FPS_3_LAYERS } =
  IngressVideoEncodingPreset;

/** Each with somebody who watches: layers nobody watches are not encoded. */
const CASES: readonly { name: string; clip: 'plain' | 'b-frames'; preset?: IngressVideoEncodingPreset }[] = [
  { name: 'one layer', clip: 'plain' },
  { name: 'in three layers of 1080p', clip: 'plain', preset: H264_1080P_30FPS_3_LAYERS },
  { name: 'with B-frames', clip: 'b-frames' },
  { name: 'with B-frames, 720p in three layers', clip: 'b-frames', preset: H264_720P_30FPS_3_LAYERS },
  { name: 'with B-frames, 1080p in one layer', clip: 'b-frames', preset: H264_1080P_30FPS_1_LAYER },
  { name: 'with B-frames, 1080p in three layers', clip: 'b-frames', preset: H264_1080P_30FPS_3_LAYERS },
];

/** What playing an MP4 file by HTTP costs: all processes of the program but an idle one's share, which is the last row. */
export async function bench(): Promise<BenchRow[]> {
  const folder = await mkdtemp(path.join(tmpdir(), 'sluice-bench-url-'));
  await makeClips(folder);
  const web = await startWebFolder(folder);
  const sluice = await startSluiceProcess({
    config: {
      ingress: { rtmp_port: 0, whip_port: 0, url_input: { allow_addresses: ['127.0.0.1/32'] } },
    },
  });
  try {
    const rows: BenchRow[] = [];
    const unit = 'CPU s per media s';
    for (const { name, clip, preset } of CASES) {
      const { cores, treatment } = await play({ sluice, web, clip, preset, room: `room-${rows.length}` });
      rows.push({
        name: `URL (MP4) 1080p30 6 Mbit/s into a room, ${name} (${treatment})`,
        value: cores,
        unit,
      });
    }
    const idle = await coresOf(() => [sluice.pid], { warmUpS: 2, measuredS: 5 });
    return [...rows, { name: '– the program without a session', value: idle, unit }];
  } finally {
    await sluice.cleanUp();
    await web.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function makeClips(folder: string): Promise<void> {
  const once = path.join(folder, 'once.mp4');
  const sound = ['-c:a', 'aac', '-b:a', '160k'];
  const bFrames = ['-profile:v', 'high', '-tune', 'film', '-bf', '2'];
  for (const [name, audio] of [
    ['plain', sound],
    ['b-frames', [...bFrames, ...sound]],
  ] as const) {
    await makeBenchClip(once, PICTURE, audio);
    // As long as it is looked at, so that no round ends in between.
    const loops = String(Math.ceil((WARM_UP_S + MEASURED_S) / CLIP_SECONDS) + 1);
    const longer = ['-stream_loop', loops, '-i', once, '-c', 'copy', '-movflags', '+faststart'];
    await ffmpeg(['-v', 'error', '-y', ...longer, path.join(folder, `${name}.mp4`)]);
  }
}

async function play(options: {
  sluice: SluiceProcess;
  web: WebFolder;
  clip: string;
  preset: IngressVideoEncodingPreset | undefined;
  room: string;
}): Promise<{ cores: number; treatment: string }> {
  const { sluice, web, clip, preset, room } = options;
  const client = new IngressClient(sluice.apiUrl, API_KEY, API_SECRET);
  const token = new AccessToken(API_KEY, API_SECRET, { identity: 'viewer' });
  token.addGrant({ roomJoin: true, room });
  const watcher = await connectRoom({
    ...{ url: sluice.wsUrl, token: await token.toJwt(), autoSubscribe: true },
    logger: createLogger({ level: 'error' }),
  });
  const { ingressId } = await client.createIngress(IngressInput.URL_INPUT, {
    ...{ url: `${web.url}/${clip}.mp4`, roomName: room, participantIdentity: 'url', participantName: 'url' },
    ...(preset === undefined
      ? {}
      : { video: new IngressVideoOptions({ encodingOptions: { case: 'preset', value: preset } }) }),
  });
  try {
    await until(PUBLISH_TIMEOUT_MS, 'PUBLISHING', async () => {
      const [info] = await client.listIngress({ ingressId });
      return IngressState_Status[info?.state?.status ?? 0] === 'ENDPOINT_PUBLISHING' ? info : undefined;
    });
    const cores = await coresOf(() => [sluice.pid], { warmUpS: WARM_UP_S, measuredS: MEASURED_S });
    const rooms = new RoomServiceClient(sluice.apiUrl, API_KEY, API_SECRET);
    const { attributes } = await rooms.getParticipant(room, 'url');
    return { cores, treatment: attributes['sluice.ingress.video'] ?? 'no video' };
  } finally {
    await client.deleteIngress(ingressId);
    await watcher.close('bench over');
  }
}
