import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { checkMedia, type Expectation } from '../../../services/cli/demo-check.ts';
import type { Tools } from '../../../services/cli/tools.ts';

const FFMPEG = process.env['FFMPEG_PATH'] ?? 'ffmpeg';
const TOOLS: Tools = {
  ffmpegPath: FFMPEG,
  ffprobePath: process.env['FFPROBE_PATH'] ?? 'ffprobe',
  chromiumPath: undefined,
  canSrt: true,
  summary: { ffmpeg: '', ffprobe: '', chromium: '', limits: [] },
};
const EXPECTED: Expectation = {
  video: { codec: 'h264', width: 320, height: 180 },
  audio: 'aac',
  minSeconds: 1.9,
};

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'sluice-demo-check-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

async function record(name: string, picture: string, sound: string): Promise<string> {
  const file = path.join(dir, name);
  await promisify(execFile)(FFMPEG, [
    ...['-v', 'error', '-f', 'lavfi', '-i', picture, '-f', 'lavfi', '-i', sound],
    ...['-t', '2', '-c:v', 'libx264', '-preset', 'ultrafast', '-g', '15', '-c:a', 'aac', file],
  ]);
  return file;
}

test('finds nothing wrong with what was asked for', async () => {
  const file = await record('good.mp4', 'testsrc2=s=320x180:r=30', 'sine=r=48000');
  expect(await checkMedia(TOOLS, file, EXPECTED)).toEqual({
    facts: ['h264 320x180', '30.0 fps', '60 frames', 'aac', '2.0 s'],
    problems: [],
  });
});

test.each([
  ['black', 'color=black:s=320x180:r=30', 'sine', ['the picture has a single colour', 'nothing moves']],
  ['frozen', 'testsrc2=s=320x180:r=30,loop=-1:1', 'sine', ['nothing moves']],
  ['silent', 'testsrc2=s=320x180:r=30', 'anullsrc', ['nothing can be heard']],
  ['small', 'testsrc2=s=160x90:r=30', 'sine', ['size is 160x90, expected 320x180']],
])('notices a %s recording', async (name, picture, sound, problems) => {
  const file = await record(`${name}.mp4`, picture, sound);
  expect((await checkMedia(TOOLS, file, EXPECTED)).problems).toEqual(problems);
});

test('notices what is short, lacks its sound, is broken or missing', async () => {
  const file = await record('short.mp4', 'testsrc2=s=320x180:r=30', 'sine');
  const opus = { ...EXPECTED, audio: 'opus', minSeconds: 3 };
  expect((await checkMedia(TOOLS, file, opus)).problems).toEqual([
    'audio codec is aac, expected opus',
    '2.0 s long, expected at least 3.0 s',
  ]);
  const broken = path.join(dir, 'broken.mp4');
  await writeFile(broken, 'no film');
  expect((await checkMedia(TOOLS, broken, EXPECTED)).problems[0]).toMatch(/^cannot be decoded: .*broken.mp4/);
  expect((await checkMedia(TOOLS, '', EXPECTED)).problems[0]).toMatch(/missing or empty/);
});
