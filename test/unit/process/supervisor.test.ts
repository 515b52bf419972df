import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLogger } from '../../../services/base/logger.ts';
import { superviseChild, type SuperviseOptions } from '../../../services/base/process/supervisor.ts';

type ToApp =
  { do: 'echo'; text: string } | { do: 'exit'; code: number } | { do: 'block' } | { do: 'leave_helper' };
type FromApp = { text: string } | { helperPid: number };

const CHILD = `
import { spawn } from 'node:child_process';
import { connectParent } from '${path.resolve('services/base/process/ipc.ts')}';
const parent = connectParent({
  onParentGone: () => process.exit(0),
  onMessage: (message) => {
    switch (message.do) {
      case 'echo': parent.send({ text: message.text }); break;
      case 'exit': process.exit(message.code); break;
      case 'block': for (;;) { }
      case 'leave_helper': parent.send({ helperPid: spawn('sleep', ['300'], { stdio: 'ignore' }).pid }); break;
    }
  },
});
if (process.env.NEVER_READY !== '1') { parent.ready(); }
`;

let folder: string;
let entry: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'sluice-process-'));
  entry = path.join(folder, 'child.mjs');
  await writeFile(path.join(folder, 'child.ts'), CHILD);
  await build({
    entryPoints: [path.join(folder, 'child.ts')],
    outfile: entry,
    bundle: true,
    platform: 'node',
    format: 'esm',
  });
});
afterAll(() => rm(folder, { recursive: true }));

function start(options: Partial<SuperviseOptions<FromApp>> = {}) {
  const messages: FromApp[] = [];
  let wake: () => void = () => undefined;
  const child = superviseChild<ToApp, FromApp>({
    entry,
    name: 'test child',
    logger: createLogger({ level: 'silent' }),
    onMessage: (message) => {
      messages.push(message);
      wake();
    },
    ...options,
  });
  const next = async (): Promise<FromApp> => {
    while (messages.length === 0) {
      await new Promise<void>((resolve) => (wake = resolve));
    }
    return messages.shift() ?? { text: '' };
  };
  return { child, next };
}

/** A container's first process may leave the dead unburied: a zombie counts as gone. */
function isAlive(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${String(pid)}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

it('talks to a ready child and reports a normal end', async () => {
  const { child, next } = start();
  await child.ready;
  child.send({ do: 'echo', text: 'hello' });
  expect(await next()).toEqual({ text: 'hello' });
  child.send({ do: 'exit', code: 0 });
  expect(await child.exited).toMatchObject({ cause: 'ended', exitCode: 0 });
  child.send({ do: 'echo', text: 'nobody there' });
});

it('names a crash, and what the child had started dies with it', async () => {
  const { child, next } = start();
  await child.ready;
  child.send({ do: 'leave_helper' });
  const message = await next();
  const helperPid = 'helperPid' in message ? message.helperPid : 0;
  expect(isAlive(helperPid)).toBe(true);
  process.kill(child.pid ?? 0, 'SIGKILL');
  expect(await child.exited).toMatchObject({
    cause: 'crashed',
    signal: 'SIGKILL',
    text: 'test child crashed with signal SIGKILL',
  });
  await expect.poll(() => isAlive(helperPid), { timeout: 15_000 }).toBe(false);
});

it('gives up on a child that never gets ready', async () => {
  const { child } = start({ readyTimeoutMs: 300, env: { ...process.env, NEVER_READY: '1' } });
  await expect(child.ready).rejects.toMatchObject({
    code: 'internal',
    message: /failed to start.*did not become ready/,
  });
  expect(await child.exited).toMatchObject({ cause: 'not_ready' });
});

it('ends a child whose event loop is blocked', async () => {
  const { child } = start({ pingIntervalMs: 50, unresponsiveMs: 400 });
  await child.ready;
  child.send({ do: 'block' });
  expect(await child.exited).toMatchObject({ cause: 'unresponsive', signal: 'SIGKILL' });
});

it('ends a child that takes more memory than allowed, and says how much it took', async () => {
  const { child } = start({ pingIntervalMs: 20, maxRssBytes: 1_000_000 });
  const exit = await child.exited;
  expect(exit.cause).toBe('out_of_memory');
  expect(exit.peakRssBytes).toBeGreaterThan(1_000_000);
});

it('fails like a crash when the program does not exist', async () => {
  const { child } = start({ entry: path.join(folder, 'missing.mjs') });
  await expect(child.ready).rejects.toThrow(/failed to start.*crashed with exit code 1/);
});
