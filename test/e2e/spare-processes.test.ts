import { readdir } from 'node:fs/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { startSluiceProcess, type SluiceProcess } from '../support/sluice-process.ts';

const START_TIMEOUT_MS = 40_000;

let sluice: SluiceProcess;
beforeEach(async () => {
  sluice = await startSluiceProcess({ config: { egress: { warm_handlers: 1, warm_browsers: 1 } } });
});
afterEach(() => sluice.cleanUp());

async function pidsOf(command: RegExp): Promise<number[]> {
  return (await sluice.descendants()).filter((found) => command.test(found.command)).map(({ pid }) => pid);
}
const handlers = (): Promise<number[]> => pidsOf(/egress-handler \(spare\)/);
const browsers = (): Promise<number[]> => pidsOf(/chrom/);

async function everythingWaits(): Promise<void> {
  await expect.poll(handlers, { timeout: START_TIMEOUT_MS }).toHaveLength(2);
  // A browser is several processes, renderers without a readable environment among them.
  await expect
    .poll(async () => (await browsers()).length, { timeout: START_TIMEOUT_MS })
    .toBeGreaterThanOrEqual(3);
}

it('ends what waits for jobs on Ctrl-C, with no process and no file left', { timeout: 120_000 }, async () => {
  await everythingWaits();
  expect(await sluice.end('SIGINT')).toBe(0);
  expect(await sluice.descendants()).toEqual([]);
  expect(await readdir(sluice.tmpDir)).toEqual([]);
});

it('loses the browser with its handler, and both with the program', { timeout: 120_000 }, async () => {
  await everythingWaits();
  // The program keeps running when its spares die, and their browser goes with them.
  for (const pid of await handlers()) {
    process.kill(pid, 'SIGKILL');
  }
  await expect.poll(browsers, { timeout: START_TIMEOUT_MS }).toEqual([]);
  expect(await sluice.descendants()).toEqual([]);
  expect((await fetch(`${sluice.apiUrl}/status`)).status).toBe(200);
});

it('leaves nothing when the program itself is killed', { timeout: 120_000 }, async () => {
  await everythingWaits();
  process.kill(sluice.pid, 'SIGKILL');
  await expect.poll(() => sluice.descendants(), { timeout: START_TIMEOUT_MS }).toEqual([]);
});
