import { readdir, readFile } from 'node:fs/promises';

/** Linux counts CPU time in ticks of 10 ms (USER_HZ). */
const TICKS_PER_S = 100;

/**
 * CPU seconds that the process trees below `rootPids` have used so far, ended and reaped children included.
 * Subtract two readings to get the use of an interval.
 */
export async function processTreeCpuS(rootPids: readonly number[]): Promise<number> {
  const processes = new Map<number, { parentPid: number; ticks: number }>();
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) {
      continue;
    }
    const stat = await readFile(`/proc/${entry}/stat`, 'utf8').catch(() => '');
    // The name in parentheses may hold spaces; the numbers start behind it (proc(5)).
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
    processes.set(Number(entry), { parentPid: Number(fields[1]), ticks });
  }
  const roots = new Set(rootPids);
  const belongs = (pid: number): boolean => {
    for (let at: number | undefined = pid; at !== undefined && at > 1; at = processes.get(at)?.parentPid) {
      if (roots.has(at)) {
        return true;
      }
    }
    return false;
  };
  let total = 0;
  for (const [pid, { ticks }] of processes) {
    total += belongs(pid) ? ticks : 0;
  }
  return total / TICKS_PER_S;
}
