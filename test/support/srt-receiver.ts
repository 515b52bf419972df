import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { ffmpeg, FfmpegEncoder } from './ffmpeg-encoder.ts';
import { freePort } from './ports.ts';

export type SrtReceiver = {
  url: string;
  /** What came in as an MP4 file that begins at 0, once the sender has ended. */
  received(): Promise<string>;
  kill(): void;
};

/** ffmpeg takes one SRT stream. @param file without extension. */
export async function startSrtReceiver(file: string): Promise<SrtReceiver> {
  const port = await freePort();
  const listener = new FfmpegEncoder([
    ...['-i', `srt://127.0.0.1:${port}?mode=listener`, '-map', '0', '-c', 'copy', `${file}.ts`],
  ]);
  await untilUdpBound(port);
  return {
    url: `srt://127.0.0.1:${port}`,
    received: async () => {
      await listener.exited;
      await ffmpeg(['-v', 'error', '-i', `${file}.ts`, '-c', 'copy', `${file}.mp4`]);
      return `${file}.mp4`;
    },
    kill: () => {
      listener.kill('SIGKILL');
    },
  };
}

/** ffmpeg says nothing when it listens; the kernel knows. */
export async function untilUdpBound(port: number): Promise<void> {
  const local = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')} `;
  while (!(await readFile('/proc/net/udp', 'utf8')).includes(local)) {
    await delay(20);
  }
}
