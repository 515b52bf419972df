import { setTimeout as delay } from 'node:timers/promises';
import {
  AccessToken,
  IngressClient,
  IngressInput,
  IngressVideoEncodingOptions,
  IngressVideoOptions,
} from 'livekit-server-sdk';
import { passthroughH264 } from '../../fixtures/flash-beep.ts';
import type { BenchRow } from '../support/bench-row.ts';
import { FfmpegEncoder } from '../support/ffmpeg-encoder.ts';
import { disposeObsLike, ObsLikeEncoder } from '../support/obs-like-encoder.ts';
import { disposeRtcNode, RtcNodeViewer } from '../support/rtc-node-viewer.ts';
import { RtmpTap } from '../support/rtmp-tap.ts';
import { API_KEY, API_SECRET, startSluiceProcess, type SluiceProcess } from '../support/sluice-process.ts';
import { TimeCodeSource } from '../support/time-code-source.ts';

/**
 * Glass to glass on loopback: from the moment a raw picture is handed to the encoder until LiveKit's Rust client has
 * decoded it, by the number in the picture; the viewer's jitter buffer counts. The encoder is ffmpeg, set as OBS with
 * zerolatency (x264 veryfast, 720p30 at 2.5 Mbit/s) and fed by a camera and a microphone of one clock; the server runs as
 * the built program in a process of its own. When the encoder has sent a picture is noted on the way, which tells how much
 * of the delay is its own: for RTMP it puts pictures and sound in one order and so holds every picture until its AAC
 * encoder is past it.
 */
const PICTURE = { width: 1280, height: 720, framesPerSecond: 30 };
const BITRATE_KBPS = 2_500;
const SETTLE_MS = 8_000;
const MEASURED_MS = 15_000;
const FIRST_PICTURE_MS = 30_000;
const BUCKET_MS = 25;
const FRAME_MS = 1000 / PICTURE.framesPerSecond;
const RTP_TICKS_PER_MS = 90;

type Encoder = { stop(): Promise<unknown> };
type Delays = { glassMs: number[]; encoderMs: number[]; restMs: number[] };
/** Gets the encoder's time of the picture it has sent now. */
type OnSent = (timestampMs: number) => void;
type Route = {
  name: string;
  targetMs: number;
  input: IngressInput;
  video?: IngressVideoOptions;
  treatment?: RegExp;
  encode: (
    sluice: SluiceProcess,
    streamKey: string,
    camera: readonly string[],
    onSent: OnSent,
  ) => Promise<Encoder>;
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
      const { glassMs, encoderMs, restMs } = await measure(sluice, route);
      printHistogram(route.name, glassMs);
      const row = (name: string, delaysMs: readonly number[]): BenchRow => ({
        ...{ name, value: percentile(delaysMs, 0.95), unit: 'ms' },
      });
      rows.push(
        {
          ...row(`Glass to glass, ${route.name}, p95 of ${glassMs.length}`, glassMs),
          target: route.targetMs,
        },
        row('– the encoder alone, until it has sent the picture', encoderMs),
        row('– the rest: server, viewer with its jitter buffer', restMs),
      );
    }
  } finally {
    await sluice.cleanUp();
    await disposeRtcNode();
    disposeObsLike();
  }
  return rows;
}

async function measure(sluice: SluiceProcess, route: Route): Promise<Delays> {
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
  const sent = new SentPictures(source);
  let encoder: Encoder | undefined;
  try {
    encoder = await route.encode(sluice, streamKey, source.input, (timestampMs) => sent.add(timestampMs));
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
    const frames = viewer.frames.slice(from);
    const takenMs = frames.map(({ barcode }) => source.takenMs[barcode] ?? Number.NaN);
    const sentMs = frames.map(({ barcode }) => sent.atMs[barcode] ?? Number.NaN);
    const delays = {
      glassMs: frames.map(({ atMs }, index) => atMs - (takenMs[index] ?? Number.NaN)),
      encoderMs: sentMs.map((atMs, index) => atMs - (takenMs[index] ?? Number.NaN)),
      restMs: frames.map(({ atMs }, index) => atMs - (sentMs[index] ?? Number.NaN)),
    };
    const isComplete = frames.length >= (MEASURED_MS / 1000) * 20;
    if (!isComplete || Object.values(delays).some((each) => each.some((ms) => !(ms > 0 && ms < 10_000)))) {
      throw new Error(`${route.name}: ${frames.length} pictures, not all with a number that was sent`);
    }
    return delays;
  } finally {
    await source.close();
    await encoder?.stop();
    await viewer.close();
  }
}

/** When the encoder has sent the picture with a number: it sends each one that was taken, in order. */
class SentPictures {
  /** Not a number once the encoder has left a picture out, as its pictures are no longer those of the camera. */
  readonly atMs: number[] = [];
  readonly #source: TimeCodeSource;
  #last: { code: number; timestampMs: number } | undefined;
  #isBroken = false;

  constructor(source: TimeCodeSource) {
    this.#source = source;
  }

  add(timestampMs: number): void {
    const { takenMs } = this.#source;
    const last = this.#last;
    const code = ((last?.code ?? 0) + 1) % TimeCodeSource.codes;
    if (last !== undefined) {
      const takenStepMs = (takenMs[code] ?? Number.NaN) - (takenMs[last.code] ?? Number.NaN);
      this.#isBroken ||= !(Math.abs(timestampMs - last.timestampMs - takenStepMs) < FRAME_MS);
    }
    this.atMs[code] = this.#isBroken ? Number.NaN : performance.now();
    this.#last = { code, timestampMs };
  }
}

async function rtmp(
  sluice: SluiceProcess,
  streamKey: string,
  camera: readonly string[],
  onSent: OnSent,
): Promise<Encoder> {
  const tap = await RtmpTap.start(sluice.rtmpPort, onSent);
  const ffmpeg = new FfmpegEncoder([
    ...[...camera, '-map', '0:v', '-map', '0:a', '-vsync', 'passthrough'],
    ...passthroughH264({ framesPerSecond: PICTURE.framesPerSecond, bitrateKbps: BITRATE_KBPS }),
    ...['-c:a', 'aac', '-b:a', '128k', '-flush_packets', '1', '-f', 'flv'],
    `rtmp://127.0.0.1:${tap.port}/live/${streamKey}`,
  ]);
  return {
    stop: async () => {
      ffmpeg.kill('SIGKILL');
      await ffmpeg.exited;
      await tap.close();
    },
  };
}

function whip(
  sluice: SluiceProcess,
  streamKey: string,
  camera: readonly string[],
  onSent: OnSent,
): Promise<Encoder> {
  let lastTimestamp: number | undefined;
  let timeMs = 0;
  return ObsLikeEncoder.start({
    ...{ url: sluice.whipUrl, bearer: streamKey, camera },
    layers: [{ width: PICTURE.width, height: PICTURE.height, bitrateKbps: BITRATE_KBPS }],
    onPicture: (rtpTimestamp) => {
      timeMs += ((rtpTimestamp - (lastTimestamp ?? rtpTimestamp)) | 0) / RTP_TICKS_PER_MS;
      lastTimestamp = rtpTimestamp;
      onSent(timeMs);
    },
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
