import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  AccessToken,
  DirectFileOutput,
  EgressClient,
  EgressStatus,
  EncodedFileOutput,
  EncodedFileType,
  type EgressInfo,
} from 'livekit-server-sdk';
import puppeteer from 'puppeteer';
import type { BenchRow } from '../support/bench-row.ts';
import { encodeClip, publishClip } from '../support/clip-publisher.ts';
import { API_KEY, API_SECRET, startSluiceProcess, type SluiceProcess } from '../support/sluice-process.ts';
import { startWebhookSink, type WebhookSink } from '../support/webhook-receiver.ts';

const ROOM = 'bench';
const RUNS = Number(process.env['BENCH_RUNS'] ?? 20);
/** The first jobs of a fresh server also pay for its own compiling. */
const WARM_UP_RUNS = 2;
/** 1 = a browser waits for each page job, which is not the default. */
const WARM_BROWSERS = Number(process.env['BENCH_WARM_BROWSERS'] ?? 0);
const RECORDED_MS = 1_000;
const CHROMIUM = process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium';
const TARGETS_MS = { track: 500, page: 2_000 };

/**
 * From the API call to the first webhook that says EGRESS_ACTIVE, job after job on the built program; next to what
 * merely starting Node, or Node and a browser with an empty page, costs on this machine in the same run.
 */
export async function bench(): Promise<BenchRow[]> {
  const sink = await startWebhookSink(API_KEY, API_SECRET);
  const sluice = await startSluiceProcess({
    config: { webhook: { urls: [sink.url] }, egress: { warm_browsers: WARM_BROWSERS } },
  });
  try {
    const clip = await encodeClip({
      ...{ width: 1280, height: 720, framesPerSecond: 30, seconds: 10, bitrateKbps: 2500 },
      background: 'motion',
    });
    const publisher = await publishClip({
      wsUrl: sluice.wsUrl,
      token: await publisherToken(),
      clip,
      answersKeyframeRequests: true,
    });
    const egress = new EgressClient(sluice.apiUrl, API_KEY, API_SECRET);
    const [videoSid = ''] = publisher.trackSids;
    const track = await measure(sluice, sink, egress, (index) =>
      egress.startTrackEgress(ROOM, new DirectFileOutput({ filepath: `track-${index}.mp4` }), videoSid),
    );
    const page = await measure(sluice, sink, egress, (index) =>
      egress.startRoomCompositeEgress(ROOM, {
        file: new EncodedFileOutput({ fileType: EncodedFileType.MP4, filepath: `page-${index}.mp4` }),
      }),
    );
    await publisher.close();
    const node = await repeat(coldNode);
    const browser = await repeat(coldBrowser);
    return [
      ...rows('track', track, { name: 'node starts and ends', times: node }, TARGETS_MS.track),
      ...rows('page', page, { name: 'node and an empty browser page', times: browser }, TARGETS_MS.page),
    ];
  } finally {
    await sluice.cleanUp();
    await sink.close();
  }
}

async function publisherToken(): Promise<string> {
  const token = new AccessToken(API_KEY, API_SECRET, { identity: 'camera' });
  token.addGrant({ roomJoin: true, room: ROOM, canPublish: true });
  return token.toJwt();
}

/** Milliseconds of each job, in order. */
async function measure(
  sluice: SluiceProcess,
  sink: WebhookSink,
  egress: EgressClient,
  start: (index: number) => Promise<EgressInfo>,
): Promise<number[]> {
  const times: number[] = [];
  for (let index = 0; index < RUNS + WARM_UP_RUNS; index += 1) {
    const startMs = performance.now();
    const { egressId } = await start(index);
    const active = await reached(sink, egressId, EgressStatus.EGRESS_ACTIVE);
    if (active.status !== EgressStatus.EGRESS_ACTIVE) {
      throw new Error(`${egressId} ended: ${active.error}\n${sluice.log().slice(-3000)}`);
    }
    times.push(performance.now() - startMs);
    // A job that is stopped before its first packet ends as FAILED: there is nothing to store.
    await sleep(RECORDED_MS);
    await egress.stopEgress(egressId);
    const ended = await reached(sink, egressId, EgressStatus.EGRESS_COMPLETE);
    if (ended.status !== EgressStatus.EGRESS_COMPLETE) {
      throw new Error(`${egressId} did not complete: ${ended.error}\n${sluice.log().slice(-3000)}`);
    }
  }
  return times.slice(WARM_UP_RUNS);
}

/** The first record with this status or a later one. */
async function reached(sink: WebhookSink, egressId: string, status: EgressStatus): Promise<EgressInfo> {
  const { egressInfo } = await sink.event(
    ({ egressInfo: info }) => info?.egressId === egressId && info.status >= status,
  );
  return egressInfo as unknown as EgressInfo;
}

async function repeat(run: () => Promise<number>): Promise<number[]> {
  const times: number[] = [];
  for (let index = 0; index < RUNS; index += 1) {
    times.push(await run());
  }
  return times;
}

async function coldNode(): Promise<number> {
  const startMs = performance.now();
  await once(spawn(process.execPath, ['-e', ''], { stdio: 'ignore' }), 'exit');
  return performance.now() - startMs;
}

/** Until the page has loaded; the browser's end does not count. */
async function coldBrowser(): Promise<number> {
  const profile = await mkdtemp(path.join(tmpdir(), 'sluice-bench-browser-'));
  const startMs = performance.now();
  await coldNode();
  const browser = await puppeteer.launch({
    executablePath: CHROMIUM,
    pipe: true,
    args: ['--no-sandbox', '--disable-gpu', `--user-data-dir=${profile}`],
  });
  try {
    await (await browser.newPage()).goto('data:text/html,<p>empty');
    return performance.now() - startMs;
  } finally {
    await browser.close();
    await rm(profile, { recursive: true, force: true });
  }
}

function rows(
  what: string,
  times: readonly number[],
  baseline: { name: string; times: readonly number[] },
  target: number,
): BenchRow[] {
  const load = loadavg()[0]?.toFixed(1) ?? '';
  console.log(`${what}: ${times.map((ms) => ms.toFixed(0)).join(' ')} ms (load ${load})`);
  const row = (name: string, share: number): BenchRow => ({
    name: `API call to ACTIVE, ${what}: ${name} of ${times.length}`,
    value: percentile(times, share),
    unit: 'ms',
    baseline: { name: baseline.name, value: percentile(baseline.times, share) },
  });
  return [row('median', 0.5), { ...row('p95', 0.95), target }, row('longest', 1)];
}

/** Nearest rank. */
function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}
