import { spawn, type ChildProcess } from 'node:child_process';

const FFMPEG = process.env['FFMPEG_PATH'] ?? 'ffmpeg';

/** An ffmpeg process under test control. */
export class FfmpegEncoder {
  readonly #child: ChildProcess;
  readonly exited: Promise<{ code: number | null; signal: string | null; stderr: string }>;
  #stderr = '';

  constructor(args: readonly string[]) {
    this.#child = spawn(FFMPEG, ['-hide_banner', '-v', 'error', '-y', ...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    this.exited = new Promise((resolve, reject) => {
      this.#child.once('error', reject);
      this.#child.once('close', (code, signal) => {
        resolve({ code, signal, stderr: this.#stderr });
      });
    });
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }
}

/** Runs ffmpeg to its end. @throws Error with its last words when it fails. */
export async function ffmpeg(args: readonly string[]): Promise<void> {
  const { code, stderr } = await new FfmpegEncoder(args).exited;
  if (code !== 0) {
    throw new Error(`ffmpeg ${args.join(' ')}: ${stderr}`);
  }
}
