import { fork, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { build } from 'esbuild';
import puppeteer from 'puppeteer';
import { chooseLayout } from '../../layouts/layout-choice.ts';
import { createLogger } from '../../services/base/logger.ts';
import { startTemplateServer } from '../../services/egress/template-server.ts';
import type { BenchRow } from '../support/bench-row.ts';
import { encodeClip, publishClip } from '../support/clip-publisher.ts';
import { analyzeFlashBeep } from '../support/flash-beep.ts';
import { startSfuServer, type SfuServer } from '../support/sfu-server.ts';
import { coresOf } from './cores-of.ts';

const WIDTH = 1280;
const HEIGHT = 720;
const PARTICIPANTS = 4;
const BITRATE_KBPS = 3000;
const WARM_UP_S = 5;
const MEASURED_S = Number(process.env['BENCH_SECONDS'] ?? 20);
const TIMES = { warmUpS: WARM_UP_S, measuredS: MEASURED_S };
const CHROMIUM = process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium';
const FFMPEG = process.env['FFMPEG_PATH'] ?? 'ffmpeg';
const BASELINE = 'Xvfb + x11grab + PulseAudio + x264 veryfast';
const TEMPLATES = path.resolve('dist/templates');

type Measured = { cores: number; uniqueFps: number; medianOffsetMs: number };

/**
 * Room composite at 720p30 with four participants whose 360p H.264 arrives over WebRTC. Counted: every process
 * of the recording (Chrome, ffmpeg, Node, display and sound servers); not counted: the room and its publishers.
 */
export async function bench(): Promise<BenchRow[]> {
  const dir = await mkdtemp(path.join(tmpdir(), 'sluice-bench-composite-'));
  const server = await startSfuServer();
  const publishers: { close(): Promise<void> }[] = [];
  try {
    for (let index = 0; index < PARTICIPANTS; index += 1) {
      const clip = await encodeClip({
        ...{ width: 640, height: 360, framesPerSecond: 30, seconds: 10, bitrateKbps: 700 },
        background: 'motion',
        beeps: index === 0,
      });
      const token = await server.joinToken(`participant-${index}`, 'bench');
      publishers.push(await publishClip({ wsUrl: server.wsUrl, token, clip }));
    }
    const ours = await measureOurs(server, dir);
    const baseline = (await hasBaselineTools()) ? await measureBaseline(server, dir) : undefined;
    return rows(ours, baseline);
  } finally {
    await Promise.all(publishers.map((publisher) => publisher.close()));
    await server.close();
    await rm(dir, { recursive: true, force: true });
  }
}

function rows(ours: Measured, baseline: Measured | undefined): BenchRow[] {
  const row = (name: string, unit: string, pick: (m: Measured) => number, target?: number): BenchRow => ({
    name: `composite 720p30, ${PARTICIPANTS} participants: ${name}`,
    value: pick(ours),
    unit,
    ...(target === undefined ? {} : { target }),
    ...(baseline === undefined ? {} : { baseline: { name: BASELINE, value: pick(baseline) } }),
  });
  return [
    row('CPU', 'CPU s / media s', (m) => m.cores, 0.9),
    row('frames short of 30 unique fps', 'fps', (m) => Math.max(0, 30 - m.uniqueFps), 2),
    row('A/V offset |median|', 'ms', (m) => Math.abs(m.medianOffsetMs), 60),
  ];
}

async function recorderToken(server: SfuServer): Promise<string> {
  return server.joinToken(`EG_bench_${Date.now()}`, 'bench', {
    kind: 'egress',
    video: { hidden: true, recorder: true, canPublish: false, canPublishData: false },
  });
}

async function measureOurs(server: SfuServer, dir: string): Promise<Measured> {
  const script = path.resolve('node_modules', `.bench-recorder-${process.pid}.mjs`);
  await build({
    entryPoints: [path.resolve('test/bench/composite-recorder.ts')],
    outfile: script,
    ...{ bundle: true, packages: 'external', platform: 'node', format: 'esm', logLevel: 'warning' },
  });
  const file = path.join(dir, 'ours.mp4');
  const options = {
    file,
    target: {
      kind: 'template',
      layout: 'grid',
      token: await recorderToken(server),
      wsUrl: server.wsUrl,
    },
    ...{ width: WIDTH, height: HEIGHT, framerate: 30, videoBitrateKbps: BITRATE_KBPS, keyFrameIntervalS: 4 },
    ...{ audioCodec: 'aac', audioBitrateKbps: 128, audioSampleRateHz: 48_000 },
    ...{ awaitStartSignal: true, startTimeoutMs: 30_000, browserPath: CHROMIUM, ffmpegPath: FFMPEG },
    ...{ templatesDir: TEMPLATES, tmpDir: dir },
  };
  const child = fork(script, [JSON.stringify(options)], { stdio: 'inherit' });
  try {
    await once(child, 'message');
    const cores = await coresOf(() => [child.pid ?? 0], TIMES);
    child.send('stop');
    await once(child, 'exit');
    return { cores, ...(await inspect(file, dir)) };
  } finally {
    child.kill('SIGKILL');
    await rm(script, { force: true });
  }
}

/** Cuts the first participant's tile out of the grid and reads its bar code, flashes and beeps. */
async function inspect(file: string, dir: string): Promise<Omit<Measured, 'cores'>> {
  const tiles = Array.from({ length: PARTICIPANTS }, (_, index) => ({
    id: String(index),
    role: 'camera' as const,
    aspectRatio: 16 / 9,
  }));
  const [tile] = chooseLayout('grid', false).arrange(tiles, { width: WIDTH, height: HEIGHT });
  const { width = 0, height = 0, x = 0, y = 0 } = tile ?? {};
  const cut = path.join(dir, 'tile.mkv');
  const ffmpeg = spawn(
    FFMPEG,
    [
      ...['-v', 'error', '-y', '-ss', String(WARM_UP_S), '-i', file],
      ...[
        '-vf',
        `crop=${width - (width % 2)}:${height - (height % 2)}:${x}:${y}:exact=1`,
        '-vsync',
        'passthrough',
      ],
      ...['-c:v', 'libx264', '-preset', 'ultrafast', '-qp', '18', '-c:a', 'pcm_s16le', cut],
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  await once(ffmpeg, 'exit');
  const { uniqueFps, medianOffsetMs } = await analyzeFlashBeep(cut);
  return { uniqueFps, medianOffsetMs };
}

async function hasBaselineTools(): Promise<boolean> {
  const found = await Promise.all(
    ['/usr/bin/Xvfb', '/usr/bin/pulseaudio'].map((tool) =>
      access(tool).then(
        () => true,
        () => false,
      ),
    ),
  );
  if (found.includes(false)) {
    console.log('no baseline: install xvfb and pulseaudio to compare with the usual way');
  }
  return !found.includes(false);
}

/** The usual way: a headful Chrome on a virtual display and sound server, grabbed and encoded by ffmpeg. */
async function measureBaseline(server: SfuServer, dir: string): Promise<Measured> {
  const logger = createLogger({ level: 'silent' });
  const templates = await startTemplateServer({ rootDir: TEMPLATES, port: 0, logger });
  const children: ChildProcess[] = [];
  const start = (command: string, args: string[], options: Parameters<typeof spawn>[2]): ChildProcess => {
    const child = spawn(command, args, options);
    children.push(child);
    return child;
  };
  const socket = path.join(dir, 'pulse.sock');
  const pulseEnv = { ...process.env, HOME: dir, XDG_RUNTIME_DIR: dir, PULSE_RUNTIME_PATH: dir };
  const xvfb = start(
    'Xvfb',
    ['-displayfd', '3', '-screen', '0', `${WIDTH}x${HEIGHT}x24`, '-nolisten', 'tcp'],
    {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
    },
  );
  start(
    'pulseaudio',
    [
      ...['-n', '--daemonize=no', '--exit-idle-time=-1', '--use-pid-file=no'],
      ...['-L', `module-native-protocol-unix socket=${socket} auth-anonymous=1`],
      ...['-L', 'module-null-sink sink_name=rec rate=48000 channels=2'],
    ],
    { stdio: 'ignore', env: pulseEnv },
  );
  const [display] = (await once(xvfb.stdio[3] as Readable, 'data')) as [Buffer];
  await waitForFile(socket);
  const env = {
    ...pulseEnv,
    DISPLAY: `:${display.toString().trim()}`,
    PULSE_SERVER: `unix:${socket}`,
    PULSE_SINK: 'rec',
  };
  const browser = await puppeteer.launch({
    executablePath: CHROMIUM,
    ...{ headless: false, pipe: true, defaultViewport: null, env },
    ignoreDefaultArgs: ['--mute-audio', '--enable-automation'],
    args: [
      ...['--no-sandbox', '--kiosk', '--ozone-platform=x11', '--disable-gpu', '--hide-scrollbars'],
      ...[`--window-size=${WIDTH},${HEIGHT}`, '--window-position=0,0', '--force-device-scale-factor=1'],
      ...['--autoplay-policy=no-user-gesture-required', `--user-data-dir=${path.join(dir, 'profile')}`],
    ],
  });
  try {
    const [page] = await browser.pages();
    const ready = new Promise<void>((resolve) => {
      page?.on('console', (message) => {
        if (message.text() === 'START_RECORDING') {
          resolve();
        }
      });
    });
    const query = new URLSearchParams({
      layout: 'grid',
      token: await recorderToken(server),
      url: server.wsUrl,
    });
    await page?.goto(`${templates.baseUrl}/composite/?${query.toString()}`);
    await ready;
    const file = path.join(dir, 'baseline.mp4');
    const ffmpeg = start(FFMPEG, grabArgs(env.DISPLAY, file), { stdio: ['pipe', 'ignore', 'ignore'], env });
    const pids = [...children.map((child) => child.pid ?? 0), browser.process()?.pid ?? 0];
    const cores = await coresOf(() => pids, TIMES);
    ffmpeg.stdin?.end('q');
    await once(ffmpeg, 'exit');
    return { cores, ...(await inspect(file, dir)) };
  } finally {
    await browser.close();
    for (const child of children) {
      child.kill('SIGKILL');
    }
    await templates.close();
  }
}

function grabArgs(display: string, file: string): string[] {
  const rate = `${BITRATE_KBPS}k`;
  return [
    ...['-v', 'error', '-y', '-thread_queue_size', '1024', '-f', 'x11grab', '-draw_mouse', '0'],
    ...['-framerate', '30', '-video_size', `${WIDTH}x${HEIGHT}`, '-i', display],
    ...['-thread_queue_size', '1024', '-f', 'pulse', '-fragment_size', '3840', '-i', 'rec.monitor'],
    ...['-c:v', 'libx264', '-preset', 'veryfast', '-pix_fmt', 'yuv420p', '-g', '120'],
    ...[
      '-b:v',
      rate,
      '-maxrate',
      rate,
      '-bufsize',
      `${BITRATE_KBPS * 2}k`,
      '-c:a',
      'aac',
      '-b:a',
      '128k',
      file,
    ],
  ];
}

async function waitForFile(file: string): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    if (
      await access(file).then(
        () => true,
        () => false,
      )
    ) {
      return;
    }
    await sleep(50);
  }
  throw new Error(`${file} did not appear`);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
