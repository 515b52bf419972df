import { execFileSync } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createPageSource } from '../../services/egress/sources/page-source.ts';
import {
  createCaptureFixture,
  flashBeepPage,
  pageSourceOptions,
  processesNaming,
  recordPage,
  startPageServer,
  type CaptureFixture,
  type PageServer,
} from '../support/capture-page.ts';
import { expectCaptured } from '../support/captured-report.ts';
import { analyzeFlashBeep } from '../support/flash-beep.ts';
import { watchMachine } from '../support/machine-load.ts';

const STILL = `<!doctype html><body style="margin:0;background:#136f63"><h1>still</h1>
<script>setTimeout(() => console.log('START_RECORDING'), 200)</script>`;

let fixture: CaptureFixture;
let pages: PageServer;

beforeAll(async () => {
  fixture = await createCaptureFixture();
  pages = await startPageServer({
    '/flash-beep': flashBeepPage(),
    // Its memory tells its renderer from the others.
    '/heavy': `${flashBeepPage()}<script>globalThis.ballast = new Uint8Array(3e8).fill(1)</script>`,
    '/still': STILL,
    '/silent-template': '<!doctype html><script>console.log("waiting for?token=abc.def")</script>',
    '/refusing-template': '<!doctype html><div class="error">no such meeting</div>',
    '/broken': (response) => response.writeHead(500).end('broken'),
    '/ends': `${STILL}<script>setTimeout(() => console.log('END_RECORDING'), 2500)</script>`,
  });
});

afterAll(async () => {
  await pages.close();
  const left = await processesNaming(fixture.dir);
  const profiles = (await readdir(fixture.dir)).filter((name) => name.startsWith('b-'));
  await fixture.remove();
  expect(left).toEqual([]);
  expect(profiles).toEqual([]);
});

describe('a moving page with sound', () => {
  test('is recorded at full rate with picture and sound together', async () => {
    const options = pageSourceOptions(fixture, `${pages.url}/flash-beep`);
    const load = watchMachine();
    const recording = await recordPage(options, 12);
    const wasBusy = load();
    const report = await analyzeFlashBeep(recording.file);
    expectCaptured(report, { recordedS: 12, wasBusy });
    expect(report.reordered).toBe(0);

    expect(recording.formats).toContainEqual({ kind: 'video', codec: 'h264', width: 1280, height: 720 });
    expect(probe(recording.file)).toEqual(['h264,1280,720', 'aac,48000,2']);
    expect(recording.video[0]).toMatchObject({ ptsUs: 0, key: true });
    expect(recording.audio[0]?.ptsUs).toBeLessThan(30_000);
    const keys = recording.video.filter(({ key }) => key);
    expect(keys.length).toBeGreaterThanOrEqual(6);
    for (const packet of keys) {
      expect(nalTypes(packet.data)).toEqual(expect.arrayContaining([7, 8, 5]));
    }
    expectRising(recording.video.map(({ ptsUs }) => ptsUs));
    expectGapless(recording.audio.map(({ ptsUs, durationUs }) => [ptsUs, durationUs]));
  });
});

describe('a page that stands still', () => {
  test('has the right duration, silence without gaps, and key frames on request', async () => {
    const options = pageSourceOptions(fixture, `${pages.url}/still`, {
      keyFrameIntervalS: 60,
      audioCodec: 'opus',
      width: 640,
      height: 360,
    });
    const recording = await recordPage(options, 4, async (source) => {
      await new Promise((resolve) => setTimeout(resolve, 2000));
      source.requestKeyframe();
    });
    const last = recording.video.at(-1)?.ptsUs ?? 0;
    expect(last).toBeGreaterThan(3_800_000);
    expect(recording.video.length).toBeGreaterThanOrEqual(15);
    expect(recording.video.filter(({ key }) => key)).toHaveLength(2);
    const audioEnd = recording.audio.at(-1)?.ptsUs ?? 0;
    expect(Math.abs(audioEnd - last)).toBeLessThan(300_000);
    expectGapless(recording.audio.map(({ ptsUs, durationUs }) => [ptsUs, durationUs]));
    for (const [index, value] of [0x13, 0x6f, 0x63].entries()) {
      expect(Math.abs((meanColour(recording.file)[index] ?? 0) - value)).toBeLessThan(8);
    }
  });

  test('END_RECORDING ends the source by itself', async () => {
    const recording = await recordPage(pageSourceOptions(fixture, `${pages.url}/ends`), 10);
    expect(recording.ends).toEqual([{ reason: 'source_closed' }]);
    expect(recording.video.at(-1)?.ptsUs).toBeLessThan(8_000_000);
  });
});

test('a page from another host reaches a room on this machine, and its dialogs stop nothing', async () => {
  const outside = Object.values(networkInterfaces())
    .flat()
    .find((address) => address?.family === 'IPv4' && !address.internal);
  if (outside === undefined) {
    return; // a machine without a network has no other host
  }
  const page = `<!doctype html><script>alert('hello');
    fetch('${pages.url}/still', { mode: 'no-cors' }).then(() => console.log('START_RECORDING'));</script>`;
  const elsewhere = await startPageServer({ '/': page }, outside.address);
  try {
    await start(elsewhere.url, { startTimeoutMs: 30_000 });
  } finally {
    await elsewhere.close();
  }
});

describe('failures', () => {
  test.each([
    [
      'an unreachable host',
      'http://127.0.0.1:9/',
      'invalid_argument',
      /^page load error: .*ERR_CONNECTION_REFUSED|ERR_UNSAFE_PORT/,
    ],
    ['HTTP 500', '/broken', 'invalid_argument', /^page load error: .*HTTP 500/],
    ['a missing page', '/nothing-here', 'invalid_argument', /^page load error: .*HTTP 404/],
    ['div.error', '/refusing-template', 'invalid_argument', /^template error: no such meeting/],
    ['an address that is not http', 'file:///etc/passwd', 'invalid_argument', /^invalid url: /],
  ])('%s is told as LiveKit tells it', async (_name, address, code, message) => {
    const url = address.startsWith('/') ? pages.url + address : address;
    await expect(start(url)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message) as string,
    });
  });

  test('a page without a start signal: 412, with what its console said, redacted', async () => {
    const failure = start(`${pages.url}/silent-template`, { startTimeoutMs: 4000 });
    await expect(failure).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringMatching(
        /^Start signal not received: .*within 4 s.*waiting for\?token=\[redacted\]/,
      ) as string,
    });
  });

  test('a missing browser is an internal error naming the path', async () => {
    await expect(start(pages.url, { browserPath: '/nonexistent/chrome' })).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringContaining('/nonexistent/chrome') as string,
    });
  });

  test.each([
    ['the page', heaviestRenderer],
    ['the browser', browserProcess],
  ] as const)(
    'a crash of %s ends the recording as failed and keeps what came before',
    async (_name, find) => {
      const recording = await recordPage(pageSourceOptions(fixture, `${pages.url}/heavy`), 20, async () => {
        await new Promise((resolve) => setTimeout(resolve, 2000));
        process.kill(await find(fixture.dir), 'SIGKILL');
      });
      expect(recording.ends).toMatchObject([{ reason: 'failed', error: { code: 'internal' } }]);
      expect(recording.video.length).toBeGreaterThan(30);
      expect((await analyzeFlashBeep(recording.file)).frames).toBeGreaterThan(30);
    },
  );

  test('an abort while starting leaves nothing behind', async () => {
    const source = createPageSource(pageSourceOptions(fixture, `${pages.url}/silent-template`));
    const abort = new AbortController();
    const starting = source.start(abort.signal);
    setTimeout(() => {
      abort.abort();
    }, 700);
    await expect(starting).rejects.toMatchObject({ code: 'canceled' });
    await source.close('aborted');
    expect(await processesNaming(fixture.dir)).toEqual([]);
  });
});

async function start(url: string, overrides: Parameters<typeof pageSourceOptions>[2] = {}): Promise<void> {
  const source = createPageSource(pageSourceOptions(fixture, url, overrides));
  try {
    await source.start(new AbortController().signal);
  } finally {
    await source.close('test over');
    expect(await processesNaming(fixture.dir)).toEqual([]);
  }
}

async function browserProcess(dir: string): Promise<number> {
  for (const pid of await processesNaming(dir)) {
    if (!(await readFile(`/proc/${pid}/cmdline`, 'utf8')).includes('--type=')) {
      return pid;
    }
  }
  throw new Error('no browser process found');
}

async function heaviestRenderer(dir: string): Promise<number> {
  const renderers: { pid: number; residentPages: number }[] = [];
  for (const pid of await processesNaming(dir)) {
    if ((await readFile(`/proc/${pid}/cmdline`, 'utf8')).includes('--type=renderer')) {
      const [, resident = '0'] = (await readFile(`/proc/${pid}/statm`, 'utf8')).split(' ');
      renderers.push({ pid, residentPages: Number(resident) });
    }
  }
  const [heaviest] = renderers.sort((a, b) => b.residentPages - a.residentPages);
  if (heaviest === undefined) {
    throw new Error('no renderer process found');
  }
  return heaviest.pid;
}

function probe(file: string): string[] {
  const text = execFileSync('ffprobe', [
    ...['-v', 'error', '-show_entries', 'stream=codec_name,width,height,sample_rate,channels'],
    ...['-of', 'csv=p=0', file],
  ]);
  return text.toString().trim().split('\n');
}

function meanColour(file: string): number[] {
  const pixel = execFileSync('ffmpeg', [
    ...[
      '-v',
      'error',
      '-ss',
      '1',
      '-i',
      file,
      '-frames:v',
      '1',
      '-vf',
      'crop=iw/2:ih/2:iw/2:ih/2,scale=1:1:flags=area',
    ],
    ...['-pix_fmt', 'rgb24', '-f', 'rawvideo', '-'],
  ]);
  return [...pixel];
}

function nalTypes(accessUnit: Uint8Array): number[] {
  const types: number[] = [];
  for (let at = 0; at + 3 < accessUnit.length; at++) {
    if (accessUnit[at] === 0 && accessUnit[at + 1] === 0 && accessUnit[at + 2] === 1) {
      types.push((accessUnit[at + 3] ?? 0) & 31);
    }
  }
  return types;
}

function expectRising(values: number[]): void {
  for (const [index, value] of values.entries()) {
    expect(value).toBeGreaterThan(values[index - 1] ?? -1);
  }
}

function expectGapless(packets: [ptsUs: number, durationUs: number][]): void {
  for (const [index, [ptsUs]] of packets.entries()) {
    const [previousPtsUs, previousDurationUs] = packets[index - 1] ?? [ptsUs, 0];
    expect(Math.abs(ptsUs - previousPtsUs - previousDurationUs)).toBeLessThan(10_000);
  }
}
