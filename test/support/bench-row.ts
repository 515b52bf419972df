/** One measured number. Lower is better; unit e.g. "CPU s / media s" or "CPU s / 10 k packets". */
export type BenchRow = {
  name: string;
  value: number;
  unit: string;
  /** The highest acceptable value. */
  target?: number;
  /** The same work done the usual way, in the same run. */
  baseline?: { name: string; value: number };
};
