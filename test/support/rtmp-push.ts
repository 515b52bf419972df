import { spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';

export type RtmpPush = {
  pid: number;
  /** Resolves when ffmpeg ends by itself or is stopped. */
  ended: Promise<{ code: number | null; stderr: string }>;
  stop(): Promise<void>;
};

/** ffmpeg publishes a file over RTMP at its own speed, packets untouched; `loop` starts over at the end. */
export function pushFile(file: string, url: string, options: { loop?: boolean } = {}): RtmpPush {
  const loop = options.loop === true ? ['-stream_loop', '-1'] : [];
  const child = spawn(
    'ffmpeg',
    [
      ...['-hide_banner', '-nostdin', '-loglevel', 'error', '-re', ...loop, '-i', file],
      ...['-c', 'copy', '-f', 'flv', url],
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr = (stderr + chunk.toString()).slice(-4000)));
  const ended = new Promise<{ code: number | null; stderr: string }>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, stderr }));
  });
  return {
    pid: child.pid ?? 0,
    ended,
    async stop() {
      child.kill('SIGTERM');
      await Promise.race([ended, delay(3000)]);
      child.kill('SIGKILL');
      await ended;
    },
  };
}
