import { spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { flashBeepInputs, passthroughH264 } from '../../fixtures/flash-beep.ts';

export type PushedStream = {
  /** Resolves with the end of the push; the text is ffmpeg's last words when it failed. */
  ended: Promise<{ code: number | null; lastWords: string }>;
  stop(): Promise<void>;
};

export const DEMO_PICTURE = {
  ...{ width: 1280, height: 720, framesPerSecond: 30 },
  /** What passthroughH264 asks for. */
  keyFrameIntervalSeconds: 2,
} as const;
const STDERR_CHARS = 2000;
const STOP_TIMEOUT_MS = 5000;

/** An encoder like OBS: 720p30 H.264 without B-frames and AAC over RTMP, in real time, flash and beep once a second. */
export function pushDemoStream(options: {
  ffmpegPath: string;
  url: string;
  maxSeconds: number;
}): PushedStream {
  const child = spawn(
    options.ffmpegPath,
    [
      ...['-hide_banner', '-nostdin', '-loglevel', 'error'],
      ...flashBeepInputs({ ...DEMO_PICTURE, background: 'motion', realTime: true }),
      ...['-t', String(options.maxSeconds)],
      ...passthroughH264({ framesPerSecond: DEMO_PICTURE.framesPerSecond, bitrateKbps: 2500 }),
      ...['-c:a', 'aac', '-b:a', '128k', '-ar', '48000', '-f', 'flv', options.url],
    ],
    // Its own process group: Ctrl-C reaches this program first, which then ends the stream in order.
    { stdio: ['ignore', 'ignore', 'pipe'], detached: true },
  );
  let lastWords = '';
  child.stderr.on(
    'data',
    (chunk: Buffer) => (lastWords = (lastWords + chunk.toString()).slice(-STDERR_CHARS)),
  );
  const ended = new Promise<{ code: number | null; lastWords: string }>((resolve) => {
    child.once('error', (error) => resolve({ code: 1, lastWords: error.message }));
    child.once('close', (code) => resolve({ code, lastWords }));
  });
  return {
    ended,
    async stop() {
      child.kill('SIGTERM');
      await Promise.race([ended, delay(STOP_TIMEOUT_MS)]);
      child.kill('SIGKILL');
      await ended;
    },
  };
}
