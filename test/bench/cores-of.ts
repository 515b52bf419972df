import { setTimeout as sleep } from 'node:timers/promises';
import { processTreeCpuS } from '../support/process-cpu.ts';

/** CPU seconds per second that process trees use over `measuredS`, after `warmUpS`. The roots are asked for at both ends. */
export async function coresOf(
  pids: () => readonly number[],
  { warmUpS, measuredS }: { warmUpS: number; measuredS: number },
): Promise<number> {
  await sleep(warmUpS * 1000);
  const startMs = performance.now();
  const startS = await processTreeCpuS(pids());
  await sleep(measuredS * 1000);
  const usedS = (await processTreeCpuS(pids())) - startS;
  return usedS / ((performance.now() - startMs) / 1000);
}
