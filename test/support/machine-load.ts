import { readFileSync } from 'node:fs';

/** Share of the processors' time beyond which nobody can be expected to keep to the clock. */
const BUSY_SHARE = 0.9;

type Ticks = { idle: number; all: number };

/**
 * Whether this machine had no time to spare from now until the returned function is called. What others on the same
 * host take from it counts too, where the host tells (steal). Without /proc: never.
 */
export function watchMachine(): () => boolean {
  const start = ticks();
  return () => {
    const end = ticks();
    const all = end.all - start.all;
    return all > 0 && 1 - (end.idle - start.idle) / all > BUSY_SHARE;
  };
}

/** proc(5), /proc/stat: user nice system idle iowait irq softirq steal; the guests' time behind them is in user. */
function ticks(): Ticks {
  let line: string;
  try {
    line = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0] ?? '';
  } catch {
    return { idle: 0, all: 0 };
  }
  const times = line.split(/\s+/).slice(1, 9).map(Number);
  return { idle: (times[3] ?? 0) + (times[4] ?? 0), all: times.reduce((sum, time) => sum + time, 0) };
}
