import { spawn } from 'node:child_process';

/** A WHIP client that runs as a process and ends its session on SIGINT. */
export type WhipProcess = {
  /** All it has printed. */
  output(): string;
  /** Rejects with what it printed when it ends before stop(). */
  ended: Promise<void>;
  /** As Ctrl+C: it deletes its session and ends. */
  stop(): Promise<void>;
  kill(): void;
};

export function startWhipProcess(
  command: string,
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; onEnded?: () => void } = {},
): WhipProcess {
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...options.env },
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  let stopping = false;
  const ended = new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      options.onEnded?.();
      if (stopping) {
        resolve();
      } else {
        reject(new Error(`${command} ended with ${code ?? signal}: ${output.slice(-4000)}`));
      }
    });
  });
  ended.catch(() => undefined);
  return {
    output: () => output,
    ended,
    async stop() {
      stopping = true;
      child.kill('SIGINT');
      await ended;
    },
    kill() {
      stopping = true;
      child.kill('SIGKILL');
    },
  };
}
