import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { root, runVisible, step } from './run.mjs';

/**
 * Runs `npm ci` unless node_modules holds exactly what package-lock.json names. npm writes what it installed into
 * node_modules/.package-lock.json as its last act, so an interrupted install counts as missing.
 */
export async function ensureDependencies() {
  const reason = await mismatch();
  if (reason === undefined) {
    return;
  }
  step(`installing npm packages (${reason}; takes about a minute)`);
  await runVisible('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
  const left = await mismatch();
  if (left !== undefined) {
    throw new Error(`npm ci ended, but node_modules still does not match package-lock.json: ${left}`);
  }
}

/** Why node_modules cannot be used, or undefined. */
async function mismatch() {
  const wanted = await readLock('package-lock.json');
  const installed = await readLock('node_modules/.package-lock.json');
  if (wanted === undefined) {
    throw new Error('package-lock.json is missing: is this a complete checkout?');
  }
  if (installed === undefined) {
    return 'node_modules is missing';
  }
  for (const [name, entry] of Object.entries(wanted)) {
    if (name === '' || entry.optional || entry.devOptional || entry.peer || entry.link) {
      continue;
    }
    if (installed[name] === undefined) {
      return `${name} is missing`;
    }
    if (installed[name].version !== entry.version) {
      return `${name} is ${installed[name].version}, the lockfile says ${entry.version}`;
    }
  }
  return undefined;
}

async function readLock(file) {
  try {
    return JSON.parse(await readFile(path.join(root, file), 'utf8')).packages;
  } catch {
    return undefined;
  }
}
