import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { BARCODE, BEEP_HZ, FLASH, FLASH_SECONDS } from '../../fixtures/flash-beep.ts';
import { createLogger } from '../../services/base/logger.ts';
import { createPageSource } from '../../services/egress/sources/page-source.ts';
import type { PageSourceOptions } from '../../services/egress/sources/page-source-types.ts';
import type { SourceEnd } from '../../services/egress/sources/source-types.ts';
import { openFileSink } from '../../services/media/mux/file-sink.ts';
import { createMuxer } from '../../services/media/mux/muxer.ts';
import type { EncodedPacket, TrackFormat } from '../../services/model/packet.ts';

export type CaptureFixture = { dir: string; templatesDir: string; remove(): Promise<void> };

/** A temp folder with freshly built templates. */
export async function createCaptureFixture(): Promise<CaptureFixture> {
  const dir = await mkdtemp(path.join(tmpdir(), 'sluice-capture-test-'));
  const templatesDir = path.join(dir, 'templates');
  // The build is plain JavaScript without types.
  const buildScript: string = '../../templates/build.mjs';
  const { buildTemplates } = (await import(buildScript)) as {
    buildTemplates: (options: { outDir: string }) => Promise<string[]>;
  };
  await buildTemplates({ outDir: templatesDir });
  return { dir, templatesDir, remove: () => rm(dir, { recursive: true, force: true }) };
}

/** Options of a 720p30 page recording, to be overridden. */
export function pageSourceOptions(
  fixture: CaptureFixture,
  url: string,
  overrides: Partial<PageSourceOptions> = {},
): PageSourceOptions {
  return {
    target: { kind: 'url', url },
    width: 1280,
    height: 720,
    framerate: 30,
    videoBitrateKbps: 3000,
    keyFrameIntervalS: 2,
    audioCodec: 'aac',
    audioBitrateKbps: 128,
    audioSampleRateHz: 48_000,
    awaitStartSignal: true,
    startTimeoutMs: 40_000,
    browserPath: process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium',
    ffmpegPath: process.env['FFMPEG_PATH'] ?? 'ffmpeg',
    templatesDir: fixture.templatesDir,
    tmpDir: fixture.dir,
    logger: createLogger({ level: 'silent' }),
    ...overrides,
  };
}

export type Recording = {
  file: string;
  formats: TrackFormat[];
  video: EncodedPacket[];
  audio: EncodedPacket[];
  ends: SourceEnd[];
};

/** Records a page for `seconds`, or until it ends by itself, into an MP4 below the fixture. */
export async function recordPage(
  options: PageSourceOptions,
  seconds: number,
  during: (source: ReturnType<typeof createPageSource>) => Promise<void> = () => Promise.resolve(),
): Promise<Recording> {
  const source = createPageSource(options);
  const file = path.join(options.tmpDir, `recording-${String(Date.now())}.mp4`);
  const recording: Recording = { file, formats: [], video: [], audio: [], ends: [] };
  try {
    source.events.on('format', (format) => {
      recording.formats.push(format);
    });
    source.events.on('packet', (packet) => {
      recording[packet.kind].push(packet);
    });
    const ended = new Promise<void>((resolve) => {
      source.events.on('ended', (end) => {
        recording.ends.push(end);
        resolve();
      });
    });
    const { kinds } = await source.start(new AbortController().signal);
    await Promise.all([
      during(source),
      Promise.race([ended, new Promise((resolve) => setTimeout(resolve, seconds * 1000))]),
    ]);
    await source.stop();
    await writeMp4(recording, kinds, options);
  } finally {
    await source.close('test over');
  }
  return recording;
}

async function writeMp4(
  recording: Recording,
  kinds: ('video' | 'audio')[],
  options: PageSourceOptions,
): Promise<void> {
  let muxError: Error | undefined;
  const muxer = createMuxer({
    container: 'mp4-fragmented',
    kinds,
    sink: await openFileSink(recording.file),
    logger: options.logger,
    onError: (error) => {
      muxError = error;
    },
  });
  for (const format of recording.formats) {
    muxer.addTrack(format);
  }
  const packets = [...recording.video, ...recording.audio].sort((a, b) => a.dtsUs - b.dtsUs);
  for (const packet of packets) {
    muxer.write(packet);
  }
  await muxer.finish();
  if (muxError !== undefined) {
    throw muxError;
  }
}

export type PageServer = { url: string; close(): Promise<void> };

/** Serves pages by path; a handler may answer as it likes. */
export async function startPageServer(
  pages: Record<string, string | ((response: ServerResponse) => void)>,
  bindAddress = '127.0.0.1',
): Promise<PageServer> {
  const server = createServer((request, response) => {
    const page = pages[(request.url ?? '/').split('?', 1)[0] ?? '/'];
    if (typeof page === 'string') {
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(page);
    } else if (page === undefined) {
      response.writeHead(404).end();
    } else {
      page(response);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, bindAddress, resolve));
  return {
    url: `http://${bindAddress}:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** A page with the flash/beep picture of fixtures/flash-beep.ts, drawn by canvas and WebAudio. */
export function flashBeepPage(): string {
  return `<!doctype html><title>a title of its own</title>
<style>html,body{margin:0;overflow:hidden;background:#202830}canvas{display:block}</style><canvas id="picture"></canvas>
<script>
const BARCODE = ${JSON.stringify(BARCODE)}, FLASH = ${JSON.stringify(FLASH)};
const canvas = document.getElementById('picture'), g = canvas.getContext('2d');
canvas.width = innerWidth; canvas.height = innerHeight;
const audio = new AudioContext();
const startS = audio.currentTime + 0.5;
let beeps = 0, frames = 0;
function box(area, colour) {
  g.fillStyle = colour;
  g.fillRect(area.left * canvas.width, area.top * canvas.height,
    (area.right - area.left) * canvas.width, (area.bottom - area.top) * canvas.height);
}
function heardS() {
  const { contextTime, performanceTime } = audio.getOutputTimestamp();
  return contextTime + (performance.now() - performanceTime) / 1000 - startS;
}
function draw() {
  for (; startS + beeps < audio.currentTime + 2; beeps++) {
    const tone = audio.createOscillator(), level = audio.createGain();
    tone.frequency.value = ${String(BEEP_HZ)}; level.gain.value = 0.5;
    tone.connect(level).connect(audio.destination);
    tone.start(startS + beeps); tone.stop(startS + beeps + ${String(FLASH_SECONDS)});
  }
  frames++;
  box({ left: 0, right: 1, top: 0, bottom: 1 }, '#202830');
  g.fillStyle = '#e08030';
  g.fillRect((frames * 9) % canvas.width, canvas.height * 0.9, 90, 50);
  box({ left: BARCODE.left - 0.03, right: BARCODE.right + 0.03, top: BARCODE.top - 0.03, bottom: BARCODE.bottom + 0.03 }, '#000');
  const cell = (BARCODE.right - BARCODE.left) / BARCODE.bits;
  for (let bit = 0; bit < BARCODE.bits; bit++) {
    if ((frames >> (BARCODE.bits - 1 - bit)) & 1) {
      box({ left: BARCODE.left + bit * cell, right: BARCODE.left + (bit + 1) * cell, top: BARCODE.top, bottom: BARCODE.bottom }, '#fff');
    }
  }
  const heard = heardS();
  box(FLASH, heard >= 0 && heard % 1 < ${String(FLASH_SECONDS)} ? '#fff' : '#000');
  requestAnimationFrame(draw);
}
audio.resume().then(() => { draw(); setTimeout(() => console.log('START_RECORDING'), 300); });
</script>`;
}

/** Ids of live processes whose command line names `needle` (a temp folder nobody else uses). */
export async function processesNaming(needle: string): Promise<number[]> {
  const found: number[] = [];
  for (const entry of await readdir('/proc')) {
    if (/^\d+$/.test(entry)) {
      const commandLine = await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '');
      if (commandLine.includes(needle)) {
        found.push(Number(entry));
      }
    }
  }
  return found;
}
