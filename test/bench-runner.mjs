import { readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { root, step } from '../services/setup/run.mjs';

/**
 * Runs every test/bench/*.bench.ts one after the other; each exports `bench(): Promise<BenchRow[]>`
 * (test/support/bench-row.ts). Baselines run in the same process run, so that rows compare on any machine.
 * @param {string[]} words only benches with one of these in their name; none = all
 * @returns {Promise<number>} exit code
 */
export async function runBenches(words) {
  const folder = path.join(root, 'test', 'bench');
  const files = (await readdir(folder)).filter((name) => name.endsWith('.bench.ts')).sort();
  const chosen = files.filter((name) => words.length === 0 || words.some((word) => name.includes(word)));
  const rows = [];
  let failed = 0;
  for (const name of chosen) {
    step(`bench: ${name}`);
    try {
      rows.push(...(await runBench(path.join(folder, name))));
    } catch (error) {
      failed += 1;
      console.error(error);
    }
  }
  printTable(rows);
  return failed === 0 ? 0 : 1;
}

async function runBench(file) {
  const outfile = path.join(root, 'node_modules', `.bench-${process.pid}-${path.basename(file, '.ts')}.mjs`);
  await build({
    entryPoints: [file],
    outfile,
    bundle: true,
    packages: 'external',
    platform: 'node',
    target: 'node20',
    format: 'esm',
    logLevel: 'warning',
  });
  try {
    const { bench } = await import(pathToFileURL(outfile).href);
    return await bench();
  } finally {
    await rm(outfile, { force: true });
  }
}

function printTable(rows) {
  const heads = ['what', 'measured', 'target', 'baseline', 'factor'];
  const cells = rows.map((row) => [
    row.name,
    `${format(row.value)} ${row.unit}`,
    row.target === undefined ? '' : `≤ ${format(row.target)} ${row.value <= row.target ? 'ok' : 'MISSED'}`,
    row.baseline === undefined ? '' : `${format(row.baseline.value)} (${row.baseline.name})`,
    row.baseline === undefined ? '' : `${format(row.baseline.value / row.value)}×`,
  ]);
  const widths = heads.map((head, column) =>
    Math.max(head.length, ...cells.map((line) => line[column].length)),
  );
  for (const line of [heads, widths.map((width) => '-'.repeat(width)), ...cells]) {
    console.log(
      line
        .map((cell, column) => cell.padEnd(widths[column]))
        .join('  ')
        .trimEnd(),
    );
  }
}

function format(value) {
  return Number(value.toPrecision(3)).toString();
}
