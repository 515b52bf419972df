import { setTimeout as delay } from 'node:timers/promises';
import {
  AccessToken,
  IngressClient,
  IngressInput,
  IngressVideoEncodingOptions,
  IngressVideoOptions,
} from 'livekit-server-sdk';
import { flashBeepAudio, passthroughH264 } from '../../fixtures/flash-beep.ts';
import type { BenchRow } from '../support/bench-row.ts';
import { FfmpegEncoder } from '../support/ffmpeg-encoder.ts';
import { ObsLikeEncoder } from '../support/obs-like-encoder.ts';
import { disposeRtcNode, RtcNodeViewer } from '../support/rtc-node-viewer.ts';
import { API_KEY, API_SECRET, startSluiceProcess, type SluiceProcess } from '../support/sluice-process.ts';
import { TimeCodeSource } from '../support/time-code-source.ts';

/**
 * Glass to glass on loopback: from the moment a raw picture is handed to the encoder until LiveKit's Rust client has
 * decoded it, by the number in the picture. The encoder (x264 veryfast zerolatency, 720p30 at 2.5 Mbit/s) and the viewer
 * with its jitter buffer count; the server runs as the built program in a process of its own. For RTMP, ffmpeg queues and
 * interleaves picture and sound before it sends them, which is most of what is measured.
 */
const PICTURE = { width: 1280, height: 720, framesPerSecond: 30 };
const BITRATE_KBPS = 2_500;
const SETTLE_MS = 8_000;
const MEASURED_MS = 15_000;
const FIRST_PICTURE_MS = 30_000;
const BUCKET_MS = 25;

type Encoder = { stop(): Promise<unknown> };
type Route = {
  name: string;
  targetMs: number;
  input: IngressInput;
  video?: IngressVideoOptions;
  treatment?: RegExp;
  encode: (sluice: SluiceProcess, streamKey: string, source: TimeCodeSource) => Promise<Encoder>;
};

const HALF_SIZE = new IngressVideoOptions({
  encodingOptions: {
    case: 'options',
    value: new IngressVideoEncodingOptions({
      frameRate: 30,
      layers: [{ width: 640, height: 360, bitrate: 800_000 }],
    }),
  },
});

const ROUTES: readonly Route[] = [
  {
    ...{ name: 'RTMP, passed through', targetMs: 300, input: IngressInput.RTMP_INPUT, encode: rtmp },
    treatment: /^passthrough$/,
  },
  {
    ...{ name: 'RTMP, transcoded to 360p', targetMs: 700, input: IngressInput.RTMP_INPUT, encode: rtmp },
    ...{ video: HALF_SIZE, treatment: /^transcode: 1280x720 is larger/ },
  },
  { name: "WHIP, OBS's library", targetMs: 100, input: IngressInput.WHIP_INPUT, encode: whip },
];

export async function bench(): Promise<BenchRow[]> {
  const sluice = await startSluiceProcess();
  const rows: BenchRow[] = [];
  try {
    for (const route of ROUTES) {
      const delaysMs = await measure(sluice, route);
      printHistogram(route.name, delaysMs);
      rows.push({
        name: `Glass to glass, ${route.name}, p95 of ${delaysMs.length}`,
        ...{ value: percentile(delaysMs, 0.95), unit: 'ms', target: route.targetMs },
      });
    }
  } finally {
    await sluice.cleanUp();
    await disposeRtcNode();
  }
  return rows;
}

async function measure(sluice: SluiceProcess, route: Route): Promise<number[]> {
  const room = route.name;
  const ingress = new IngressClient(sluice.apiUrl, API_KEY, API_SECRET);
  const { streamKey } = await ingress.createIngress(route.input, {
    ...{ roomName: room, participantIdentity: 'camera' },
    ...(route.video === undefined ? {} : { video: route.video }),
  });
  const token = new AccessToken(API_KEY, API_SECRET, { identity: 'viewer' });
  token.addGrant({ roomJoin: true, room });
  const viewer = new RtcNodeViewer();
  await viewer.join(sluice.wsUrl, await token.toJwt());
  const source = await TimeCodeSource.start(PICTURE);
  let encoder: Encoder | undefined;
  try {
    encoder = await route.encode(sluice, streamKey, source);
    await Promise.race([
      viewer.until(() => viewer.frames.length > 0),
      delay(FIRST_PICTURE_MS, undefined, { ref: false }).then(() => {
        throw new Error(`${route.name}: no picture`);
      }),
    ]);
    await delay(SETTLE_MS);
    const treatment = viewer.attributesOf('camera')['sluice.ingress.video'] ?? '';
    if (route.treatment?.test(treatment) === false) {
      throw new Error(`${route.name}: the stream was treated as "${treatment}"`);
    }
    const from = viewer.frames.length;
    await delay(MEASURED_MS);
    const delaysMs = viewer.frames
      .slice(from)
      .map(({ atMs, barcode }) => atMs - (source.takenMs[barcode] ?? Number.NaN));
    if (delaysMs.length < (MEASURED_MS / 1000) * 20 || delaysMs.some((ms) => !(ms > 0 && ms < 10_000))) {
      throw new Error(`${route.name}: ${delaysMs.length} pictures, not all with a number that was sent`);
    }
    return delaysMs;
  } finally {
    await source.close();
    await encoder?.stop();
    await viewer.close();
  }
}

function rtmp(sluice: SluiceProcess, streamKey: string, source: TimeCodeSource): Promise<Encoder> {
  const ffmpeg = new FfmpegEncoder([
    ...[...source.input, '-re', '-f', 'lavfi', '-i', flashBeepAudio({ sampleRateHz: 48_000, channels: 2 })],
    ...['-map', '0:v', '-map', '1:a', '-vsync', 'passthrough'],
    ...passthroughH264({ framesPerSecond: PICTURE.framesPerSecond, bitrateKbps: BITRATE_KBPS }),
    ...['-c:a', 'aac', '-b:a', '128k', '-flush_packets', '1', '-f', 'flv'],
    `rtmp://127.0.0.1:${sluice.rtmpPort}/live/${streamKey}`,
  ]);
  return Promise.resolve({
    stop: () => {
      ffmpeg.kill('SIGKILL');
      return ffmpeg.exited;
    },
  });
}

function whip(sluice: SluiceProcess, streamKey: string, source: TimeCodeSource): Promise<Encoder> {
  return ObsLikeEncoder.start({
    ...{ url: sluice.whipUrl, bearer: streamKey, picture: source.input },
    layers: [{ width: PICTURE.width, height: PICTURE.height, bitrateKbps: BITRATE_KBPS }],
  });
}

function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN);
}

function printHistogram(name: string, delaysMs: readonly number[]): void {
  const buckets = new Map<number, number>();
  for (const ms of delaysMs) {
    const bucket = Math.floor(ms / BUCKET_MS) * BUCKET_MS;
    buckets.set(bucket, (buckets.get(bucket) ?? 0) + 1);
  }
  const share = [0.5, 0.95, 0.99].map((at) => `p${at * 100} ${percentile(delaysMs, at)} ms`).join(', ');
  console.log(`\n${name}: ${share}`);
  for (const [fromMs, count] of [...buckets].sort(([a], [b]) => a - b)) {
    const bar = '█'.repeat(Math.max(1, Math.round((count / delaysMs.length) * 60)));
    console.log(`${String(fromMs).padStart(5)} – ${String(fromMs + BUCKET_MS).padEnd(5)} ms ${bar} ${count}`);
  }
}
