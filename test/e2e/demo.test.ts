import { spawn } from 'node:child_process';
import { mkdtemp, mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ffprobe, streamOf } from '../support/ffprobe.ts';
import { isNear, meanColour } from '../support/picture.ts';
import { processesMarked } from '../support/sluice-process.ts';

const PROGRAM = path.resolve(import.meta.dirname, '..', '..', 'dist', 'main.js');
const SECONDS = 5;
/** "from → to" of every line. */
const ROUTES = [
  'ffmpeg → room',
  'Chromium → room',
  'page → MP4',
  'page → HLS, \\d+ segments',
  'page → RTMP "YouTube"',
  'page → RTMP "Twitch", added later',
  'page → JPEG every 3 s',
  'all sound, mixed → OGG',
  'picture of demo-camera → MP4',
  'sound of demo-browser → OGG',
  'templates/starter → MP4',
  'demo-browser → MP4',
  'both tracks of demo-camera → MP4',
];

let dir: string;
let output = '';
let files: string[];
const fileNamed = (name: string): string =>
  files.find((file) => file.endsWith(`/${name}`)) ?? expect.fail(`no ${name} in:\n${output}`);

beforeEach(async () => {
  output = '';
  dir = await mkdtemp(path.join(tmpdir(), 'sd-'));
  await mkdir(path.join(dir, 't'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

test(
  'the demo shows everything, says ok only to what it has decoded, and leaves nothing behind',
  { timeout: 170_000 },
  async () => {
    const recordings = path.join(dir, 'recordings');
    const flags = ['--port', '0', '--seconds', String(SECONDS), '--recordings', recordings];
    const child = spawn(process.execPath, [PROGRAM, 'demo', ...flags], {
      cwd: dir,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TMPDIR: path.join(dir, 't'), SLUICE_DEMO_MARKER: path.basename(dir) },
    });
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
    for (const route of ROUTES) {
      expect(output).toMatch(new RegExp(`${route} .* ok\\n`));
    }
    expect(output).toContain(`all ${ROUTES.length} ok`);
    expect(code).toBe(0);

    expect(await processesMarked(`SLUICE_DEMO_MARKER=${path.basename(dir)}`, 0)).toEqual([]);
    expect(await readdir(path.join(dir, 't'))).toEqual([]);

    const [run = ''] = await readdir(path.join(recordings, 'demo'));
    const folder = path.join(recordings, 'demo', run);
    files = (await readdir(folder, { recursive: true })).map((name) => path.join(folder, name));
    for (const name of ['composite.mp4', 'hls/index.m3u8', 'youtube.flv', 'twitch.flv']) {
      const probe = await ffprobe(fileNamed(name));
      expect(streamOf(probe, 'video')).toMatchObject({ codec_name: 'h264', width: 1280, height: 720 });
      expect(streamOf(probe, 'audio').codec_name).toBe('aac');
    }
    expect(await readFile(fileNamed('hls/index.m3u8'), 'utf8')).toContain('#EXT-X-ENDLIST');
    const page = await readFile(fileNamed('index.html'), 'utf8');
    expect(page.match(/class="ok"/g)).toHaveLength(ROUTES.length);
    expect(page).toContain('<video controls preload="metadata" src="composite.mp4">');
    // The page's own colour: it was not the built-in page that was recorded.
    const corner = await meanColour(fileNamed('custom-template.mp4'), 2, { x: 0.95, y: 0.95 });
    expect(corner).toSatisfy((rgb: number[]) => isNear(rgb, [0x24, 0x1a, 0x3a]));
  },
);
