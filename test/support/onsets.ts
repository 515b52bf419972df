/** How often a series of states turns on; one that is on from the start does not count. */
export function readOnsets(series: readonly boolean[]): number {
  return series.filter((on, i) => on && series[i - 1] === false).length;
}
