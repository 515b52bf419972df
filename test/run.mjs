// `npm test`: prepares a fresh machine, then builds, checks types and style, and runs every test. `npm run soak NAME`
// runs the long ones with NAME in their path.
// The last line is "N passed, N failed"; the exit code follows it.
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ensureBuild } from '../services/setup/build-state.mjs';
import { ensureDependencies } from '../services/setup/dependencies.mjs';
import { missingPackages } from '../services/setup/packages.mjs';
import { root, step } from '../services/setup/run.mjs';
import { ensureTools } from '../services/setup/tools.mjs';

/** Peers and servers the tests run for real; the name is Debian's. */
const TEST_PACKAGES = [
  'redis-server',
  'memcached',
  'swift-proxy',
  'swift-account',
  'swift-container',
  'swift-object',
  'nginx',
  'protobuf-compiler',
  'libnginx-mod-rtmp',
  'openssl',
  'python3-gi',
  'gir1.2-gst-rtsp-server-1.0',
  'gstreamer1.0-plugins-base',
  'gstreamer1.0-plugins-good',
];

/** The usual way to capture a page, as the baseline of the composite bench. */
const BENCH_PACKAGES = ['xvfb', 'pulseaudio', 'pulseaudio-utils'];

/**
 * Encoders nobody here wrote: GStreamer, librtmp (in curl, too), OBS with a display and software OpenGL, Firefox with a
 * sound card, Meetecho's WHIP client (tcc builds what Debian's needs to run) and a TURN server for it, aiortc.
 */
const SOAK_PACKAGES = [
  'gstreamer1.0-tools',
  'gstreamer1.0-plugins-good',
  'gstreamer1.0-plugins-bad',
  'curl',
  'obs-studio',
  'xvfb',
  'libgl1-mesa-dri',
  'firefox-esr',
  'pulseaudio',
  'coturn',
  'python3-aiortc',
  'simple-whip-client',
  'tcc',
];

/** These wait for time-outs more than they work, and do not care when. */
const PATIENT_TESTS = {
  besideChecks: [
    'test/interop/whip-sessions.test.ts',
    'test/interop/redis-faults.test.ts',
    'test/e2e/bad-input.test.ts',
    'test/e2e/redis-lost.test.ts',
  ],
  besideUnitTests: ['test/interop/stream-output.test.ts', 'test/interop/srt-listener.test.ts'],
};
const RUN_TIMEOUT_MS = 14 * 60_000;
const SOAK_TIMEOUT_MS = 90 * 60_000;
const CHECK_TIMEOUT_MS = 5 * 60_000;

/** @typedef {{ passed: number, failed: number, skipped: number }} Count */

const flags = new Set(process.argv.slice(2));
const words = process.argv.slice(2).filter((word) => !word.startsWith('--'));
const startedAtMs = Date.now();
await prepareMachine();
if (flags.has('--bench')) {
  const { runBenches } = await import('./bench-runner.mjs');
  process.exitCode = await runBenches(words);
} else if (flags.has('--soak')) {
  process.exitCode = report(await runVitest(['soak'], { words, timeoutMs: SOAK_TIMEOUT_MS }));
} else {
  process.exitCode = report(await runEverything());
}

async function prepareMachine() {
  const packages = flags.has('--bench')
    ? BENCH_PACKAGES
    : [...TEST_PACKAGES, ...(flags.has('--soak') ? SOAK_PACKAGES : [])];
  try {
    await ensureDependencies();
    await ensureTools({ required: true, packages: await missingPackages(packages) });
    const missing = await missingPackages(packages);
    if (missing.length > 0) {
      step(`missing: ${missing.join(', ')}. Install with: sudo apt-get install -y ${missing.join(' ')}`);
    }
    await ensureBuild();
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    console.log('0 passed, 1 failed');
    process.exit(1);
  }
}

/** @returns {Promise<Count>} */
async function runEverything() {
  const total = { passed: 0, failed: 0, skipped: 0 };
  const add = (count) => {
    total.passed += count.passed;
    total.failed += count.failed;
    total.skipped += count.skipped;
  };
  const { besideChecks, besideUnitTests } = PATIENT_TESTS;
  const first = runVitest(['interop', 'e2e'], { words: besideChecks });
  const lint = check('lint', ['node_modules/eslint/bin/eslint.js', '.']);
  add(await check('types (services, tests)', ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json']));
  add(await check('types (pages)', ['node_modules/typescript/bin/tsc', '-p', 'templates/tsconfig.json']));
  add(await check('format', ['node_modules/prettier/bin/prettier.cjs', '--check', '--log-level=warn', '.']));
  add(await lint);
  add(await first);
  const second = runVitest(['interop', 'e2e'], { words: besideUnitTests });
  add(await runVitest(['unit', 'meta']));
  add(await second);
  // They watch media in real time and spend most of it waiting: two files run at once.
  add(await runVitest(['interop', 'e2e'], { except: [...besideChecks, ...besideUnitTests] }));
  return total;
}

/** One tool over the whole project counts as one test. @returns {Promise<Count>} */
async function check(name, args) {
  step(name);
  const code = await run(args, CHECK_TIMEOUT_MS);
  if (code !== 0) {
    console.log(`FAILED: ${name}`);
  }
  return { passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: 0 };
}

/**
 * @param words only test files with one of these in their path; none = all
 * @param except files to leave out
 * @returns {Promise<Count>}
 */
async function runVitest(projects, { words: chosen = [], except = [], timeoutMs = RUN_TIMEOUT_MS } = {}) {
  step(`tests: ${[...projects, ...chosen].join(', ')}`);
  const dir = await mkdtemp(path.join(tmpdir(), 'sluice-test-'));
  const outputFile = path.join(dir, 'result.json');
  try {
    const code = await run(
      [
        'node_modules/vitest/vitest.mjs',
        'run',
        '--reporter=default',
        '--reporter=json',
        `--outputFile.json=${outputFile}`,
        '--passWithNoTests',
        ...projects.flatMap((name) => ['--project', name]),
        ...chosen,
        ...except.flatMap((file) => ['--exclude', file]),
      ],
      timeoutMs,
    );
    return await readCount(outputFile, code);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** A run that broke outside of a test (import error, unhandled rejection, time-out) still counts as failed. */
async function readCount(outputFile, code) {
  const text = await readFile(outputFile, 'utf8').catch(() => undefined);
  const result = text === undefined ? {} : JSON.parse(text);
  const failed = result.numFailedTests ?? 0;
  return {
    passed: result.numPassedTests ?? 0,
    failed: code !== 0 && failed === 0 ? 1 : failed,
    skipped: (result.numPendingTests ?? 0) + (result.numTodoTests ?? 0),
  };
}

function report({ passed, failed, skipped }) {
  const seconds = Math.round((Date.now() - startedAtMs) / 1000);
  step(`took ${Math.floor(seconds / 60)} min ${seconds % 60} s`);
  console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
  return failed === 0 && passed > 0 ? 0 : 1;
}

function run(args, timeoutMs) {
  const child = spawn(process.execPath, args, {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    env: { ...process.env, CI: 'true', AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true' },
  });
  return new Promise((resolve) => {
    child.once('error', () => resolve(1));
    child.once('close', (code) => resolve(code ?? 1));
  });
}
