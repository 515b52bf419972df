import { spawn, type ChildProcess } from 'node:child_process';
import path from 'node:path';
import type { Recipe } from '../../fixtures/generate.ts';
import { passthroughH264 } from '../../fixtures/flash-beep.ts';

/** What FFmpeg's WHIP muxer takes: H.264 without B-frames and Opus, 48 kHz stereo. */
export const WHIP_360P: Recipe = {
  name: 'whip-360p',
  extension: 'mp4',
  picture: { width: 640, height: 360, framesPerSecond: 30 },
  seconds: 60,
  video: passthroughH264({ framesPerSecond: 30, bitrateKbps: 800 }),
  audio: ['-c:a', 'libopus', '-b:a', '96k', '-ar', '48000', '-ac', '2', '-strict', '-2'],
};

/** Tests and benches run in the project's folder. */
const PROGRAM = path.resolve('test/support/whip-ffmpeg-publisher.mjs');

/** FFmpeg 8's WHIP muxer (node-av) in a process of its own, playing a file at its own pace. */
export class FfmpegWhipPublisher {
  readonly #child: ChildProcess;
  /** Resolves when the muxer has its connection; rejects with its last words when it ends before. */
  readonly connected: Promise<void>;
  readonly exited: Promise<{ code: number | null; output: string }>;
  #output = '';

  constructor(options: { url: string; file: string; bearer?: string }) {
    const { url, file, bearer } = options;
    this.#child = spawn(process.execPath, [PROGRAM, url, file, ...(bearer === undefined ? [] : [bearer])], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let connect: () => void = () => undefined;
    let fail: (error: Error) => void = () => undefined;
    this.connected = new Promise((resolve, reject) => {
      connect = resolve;
      fail = reject;
    });
    this.connected.catch(() => undefined);
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#output += text;
        if (/^connected$/m.test(this.#output)) {
          connect();
        }
      });
    }
    this.exited = new Promise((resolve) => {
      this.#child.once('close', (code) => {
        fail(new Error(`the WHIP muxer ended (${String(code)}): ${this.#output.slice(-2000)}`));
        resolve({ code, output: this.#output });
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Lets it end its session with DELETE. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    await this.exited;
  }
}
