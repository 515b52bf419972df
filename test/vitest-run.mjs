// Runs vitest and reads from its report how it went.
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { root, step } from '../services/setup/run.mjs';

const RUN_TIMEOUT_MS = 14 * 60_000;

/**
 * What failed: tests of one file by their full names, or, without names, the file as a whole (its set-up, an import);
 * without a file a tool over the whole project.
 * @typedef {{ passed: number, skipped: number }} Rest the file's other tests
 * @typedef {{ file?: string, names: string[], rest: Rest }} Failure
 * @typedef {{ passed: number, failures: Failure[], skipped: number }} Outcome
 */

/**
 * @param {string[]} projects none = all
 * @param words only test files with one of these in their path; none = all
 * @param except files to leave out
 * @param names only tests with these full names; none = all
 * @param workers files at once
 * @param calm one test after the other, each with two tries
 * @returns {Promise<Outcome>}
 */
export async function runVitest(
  projects,
  { words = [], except = [], names = [], workers = 2, calm = false, timeoutMs = RUN_TIMEOUT_MS } = {},
) {
  step(`tests: ${[...projects, ...words].join(', ')}`);
  const dir = await mkdtemp(path.join(tmpdir(), 'sluice-test-'));
  const outputFile = path.join(dir, 'result.json');
  try {
    const code = await runNode(
      [
        'node_modules/vitest/vitest.mjs',
        'run',
        '--reporter=default',
        '--reporter=json',
        `--outputFile.json=${outputFile}`,
        '--passWithNoTests',
        ...projects.flatMap((name) => ['--project', name]),
        ...words,
        ...except.flatMap((file) => ['--exclude', file]),
        ...(names.length === 0 ? [] : ['--testNamePattern', `^(${names.map(escaped).join('|')})$`]),
        ...(calm ? ['--maxConcurrency=1', '--retry=1'] : []),
      ],
      timeoutMs,
      { SLUICE_TEST_WORKERS: String(workers) },
    );
    return await readOutcome(outputFile, code);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** A run that broke outside of a test (import error, unhandled rejection, time-out) still counts as failed. */
async function readOutcome(outputFile, code) {
  const text = await readFile(outputFile, 'utf8').catch(() => undefined);
  const result = text === undefined ? {} : JSON.parse(text);
  /** @type {Failure[]} */
  const failures = (result.testResults ?? [])
    .filter(({ status }) => status === 'failed')
    .map(({ name, assertionResults }) => ({
      file: path.relative(root, name),
      names: assertionResults.filter(({ status }) => status === 'failed').map(({ fullName }) => fullName),
      rest: restOf(assertionResults),
    }));
  if (code !== 0 && failures.length === 0) {
    failures.push({ names: ['vitest itself: see above'], rest: { passed: 0, skipped: 0 } });
  }
  return {
    passed: result.numPassedTests ?? 0,
    failures,
    skipped: (result.numPendingTests ?? 0) + (result.numTodoTests ?? 0),
  };
}

/** @returns {Rest} */
function restOf(results) {
  const passed = results.filter(({ status }) => status === 'passed').length;
  const failed = results.filter(({ status }) => status === 'failed').length;
  return { passed, skipped: results.length - passed - failed };
}

function escaped(text) {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

/** @returns {Promise<number>} the exit code */
export function runNode(args, timeoutMs, env = {}) {
  const child = spawn(process.execPath, args, {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    env: { ...process.env, CI: 'true', AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true', ...env },
  });
  return new Promise((resolve) => {
    child.once('error', () => resolve(1));
    child.once('close', (code) => resolve(code ?? 1));
  });
}
