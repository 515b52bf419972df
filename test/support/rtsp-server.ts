import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';

/** Debian packages with GStreamer's RTSP server. */
export const RTSP_SERVER_PACKAGES = [
  'python3-gi',
  'gir1.2-gst-rtsp-server-1.0',
  'gstreamer1.0-plugins-base',
  'gstreamer1.0-plugins-good',
] as const;

export type RtspServer = {
  port: number;
  /** Where a file is played, from its start for everybody. */
  url(file: string): string;
  close(): Promise<void>;
};

/** An RTSP server nobody here wrote, over MP4 files with H.264 and AAC. Ends by process id. */
export async function startRtspServer(files: readonly string[]): Promise<RtspServer> {
  const python = '/usr/bin/python3';
  if (!existsSync(python)) {
    throw new Error(
      `not installed: run apt-get install -y --no-install-recommends ${RTSP_SERVER_PACKAGES.join(' ')}`,
    );
  }
  const script = path.resolve(import.meta.dirname, '../fixtures/rtsp/server.py');
  const child = spawn(python, [script, ...files], { stdio: ['ignore', 'pipe', 'pipe'] });
  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()));
  let stderr = '';
  child.stderr.on('data', (bytes: Buffer) => (stderr = (stderr + bytes.toString()).slice(-2000)));
  const port = await new Promise<number>((resolve, reject) => {
    child.stdout.once('data', (bytes: Buffer) => resolve(Number(bytes.toString().trim())));
    child.once('close', () => {
      reject(
        new Error(
          `GStreamer's RTSP server does not start (apt-get install -y --no-install-recommends ${RTSP_SERVER_PACKAGES.join(' ')}): ${stderr}`,
        ),
      );
    });
  });
  return {
    port,
    url: (file) => `rtsp://127.0.0.1:${port}/${path.basename(file)}`,
    async close() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}
