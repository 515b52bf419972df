import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { build } from 'esbuild';
import { coresOf } from './cores-of.ts';

/**
 * Code that runs some dozen times a second takes long to be compiled for good. In one profile each of an RTMP stream, V8's
 * optimizing compiler took 15 % of the CPU time 25 to 40 s after the start and 2 % after 85 s. Streams last hours.
 */
export const STREAM_WARM_UP_S = 85;
const END_TIMEOUT_MS = 5_000;

/** The process under test, and what descends from it; encoders and viewers belong to somebody else. */
export type BenchNode<Reply extends { type: string }> = {
  /** The next message of this type. @throws Error when the process ends without. */
  reply<Type extends Reply['type']>(type: Type): Promise<Extract<Reply, { type: Type }>>;
  send(message: { type: string }): void;
  /** CPU seconds per second. */
  cores(times: { warmUpS: number; measuredS: number }): Promise<number>;
  /** Says `end`, and waits for it. */
  close(): Promise<void>;
};

/**
 * Bundles a script of this folder, so that loaders cost it nothing, and runs it.
 * @param script its name, without `.ts`
 */
export async function startBenchNode<Reply extends { type: string }>(
  script: string,
  args: readonly string[] = [],
): Promise<BenchNode<Reply>> {
  // Inside the repository, so that the bundle finds node_modules.
  const folder = path.resolve('node_modules/.cache', `sluice-bench-${script}-${process.pid}`);
  await mkdir(folder, { recursive: true });
  const outfile = path.join(folder, 'node.mjs');
  await build({
    entryPoints: [path.resolve('test/bench', `${script}.ts`)],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    logLevel: 'error',
  });
  const child = fork(outfile, args, { stdio: 'inherit' });
  const exited = once(child, 'exit');
  return {
    reply: (type) =>
      new Promise((resolve, reject) => {
        const onExit = (code: number | null, signal: string | null): void => {
          reject(new Error(`bench process ended with ${String(code ?? signal)}`));
        };
        const onMessage = (message: unknown): void => {
          if ((message as Reply).type === type) {
            child.off('message', onMessage);
            child.off('exit', onExit);
            resolve(message as Extract<Reply, { type: typeof type }>);
          }
        };
        child.on('message', onMessage);
        child.once('exit', onExit);
      }),
    send(message) {
      child.send(message);
    },
    cores: (times) => coresOf(() => [child.pid ?? 0], times),
    async close() {
      if (child.connected) {
        child.send({ type: 'end' });
      }
      const timer = setTimeout(() => child.kill('SIGKILL'), END_TIMEOUT_MS);
      await exited;
      clearTimeout(timer);
      await rm(folder, { recursive: true, force: true });
    },
  };
}
