import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { root, step } from './run.mjs';

const SOURCES = ['services', 'templates', 'layouts', 'package-lock.json', 'package.json'];

/** Builds dist/ when any source is newer than the last build. A shipped dist/ without sources is left alone. */
export async function ensureBuild() {
  const builtMs = await modifiedMs(path.join(root, 'dist', '.built'));
  const newestMs = Math.max(...(await Promise.all(SOURCES.map((name) => newestIn(path.join(root, name))))));
  if (builtMs >= newestMs) {
    return;
  }
  step('building');
  const { buildAll } = await import('../build.mjs');
  await buildAll();
}

async function newestIn(file) {
  const facts = await stat(file).catch(() => undefined);
  if (facts === undefined || !facts.isDirectory()) {
    return facts?.mtimeMs ?? 0;
  }
  const names = await readdir(file);
  const times = await Promise.all(names.map((name) => newestIn(path.join(file, name))));
  return Math.max(facts.mtimeMs, ...times);
}

async function modifiedMs(file) {
  return (await stat(file).catch(() => undefined))?.mtimeMs ?? 0;
}
