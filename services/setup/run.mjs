import { spawn } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The project folder. */
export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..');

/** One line of progress, on stderr like everything else that is not a result. */
export function step(message) {
  process.stderr.write(`• ${message}\n`);
}

/**
 * Runs a program whose output the user sees. @throws Error naming the command when it fails.
 * @param {string} command
 * @param {string[]} args
 * @param {{ env?: NodeJS.ProcessEnv, timeoutMs?: number, quiet?: boolean }} [options]
 * @returns {Promise<void>}
 */
export async function runVisible(command, args, options = {}) {
  const { env = process.env, timeoutMs = 900_000, quiet = false } = options;
  const child = spawn(command, args, {
    cwd: root,
    env,
    stdio: ['ignore', quiet ? 'ignore' : process.stderr, process.stderr],
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
  });
  const ended = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(signal ?? code));
  });
  if (ended !== 0) {
    throw new Error(`${command} ${args.join(' ')} failed (${ended})`);
  }
}
