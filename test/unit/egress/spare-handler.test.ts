import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { createLogger } from '../../../services/base/logger.ts';
import type { FromHandler } from '../../../services/egress/handler-messages.ts';
import { SpareHandler, type HandlerProcess } from '../../../services/egress/spare-handler.ts';

/** Answers as a handler does when it has been stopped before its job came. */
const HANDLER = `
import { connectParent } from '${path.resolve('services/base/process/ipc.ts')}';
const parent = connectParent({
  onParentGone: () => process.exit(0),
  onMessage: (message) => parent.send({ type: 'update', info: message.reason }),
});
parent.ready();
`;

let folder: string;
let handlerEntry: string;
let spares: SpareHandler;
const taken: HandlerProcess[] = [];
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'sluice-spare-'));
  handlerEntry = path.join(folder, 'handler.mjs');
  const source = path.join(folder, 'handler.ts');
  await writeFile(source, HANDLER);
  await build({
    ...{ entryPoints: [source], outfile: handlerEntry },
    ...{ bundle: true, platform: 'node', format: 'esm' },
  });
});
afterEach(async () => {
  await Promise.all([spares.close(), ...taken.splice(0).map((handler) => handler.kill(0))]);
});
afterAll(() => rm(folder, { recursive: true }));

function open(keep: number): SpareHandler {
  spares = new SpareHandler({
    ...{ handlerEntry, keep },
    maxRssBytes: 0,
    logger: createLogger({ level: 'silent' }),
  });
  return spares;
}

function take(onMessage: (message: FromHandler) => void = () => undefined): HandlerProcess {
  const handler = spares.take(onMessage);
  taken.push(handler);
  return handler;
}

async function answer(): Promise<FromHandler> {
  return new Promise((resolve) => {
    take(resolve).send({ type: 'stop', reason: 'killed' });
  });
}

function isAlive(pid: number | undefined): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${String(pid)}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

it('gives the waiting process to one job only; its messages reach that job', async () => {
  const { pid } = (open(1).refill(), spares);
  expect(isAlive(pid)).toBe(true);
  spares.refill();
  expect(spares.pid).toBe(pid);
  expect(await answer()).toEqual({ type: 'update', info: 'killed' });
  expect(taken[0]?.pid).toBe(pid);
  expect(spares.pid).toBeUndefined();
  spares.refill();
  expect(await answer()).toEqual({ type: 'update', info: 'killed' });
  expect(taken[1]?.pid).not.toBe(pid);
});

it('lets the next job start its own process when the spare has died', async () => {
  const { pid } = (open(1).refill(), spares);
  process.kill(pid ?? expect.fail('no spare'), 'SIGKILL');
  await expect.poll(() => spares.pid, { timeout: 15_000 }).toBeUndefined();
  expect(await answer()).toEqual({ type: 'update', info: 'killed' });
  expect(taken[0]?.pid).not.toBe(pid);
});

it('keeps none when told so', async () => {
  open(0).refill();
  expect(spares.pid).toBeUndefined();
  expect(await answer()).toEqual({ type: 'update', info: 'killed' });
});

it('leaves nothing behind at its end, and keeps the jobs their processes', async () => {
  open(1).refill();
  const job = take();
  await job.ready;
  spares.refill();
  const { pid } = spares;
  await spares.close();
  expect(isAlive(pid)).toBe(false);
  expect(isAlive(job.pid)).toBe(true);
  spares.refill();
  expect(isAlive(spares.pid)).toBe(false);
  await spares.close();
});
