// `npm test`: prepares a fresh machine, then builds, checks types and style, and runs every test. `npm run soak NAME`
// runs the long ones with NAME in their path.
// The last line is "N passed, N failed"; the exit code follows it.
import { ensureBuild } from '../services/setup/build-state.mjs';
import { ensureDependencies } from '../services/setup/dependencies.mjs';
import { missingPackages } from '../services/setup/packages.mjs';
import { step } from '../services/setup/run.mjs';
import { ensureTools } from '../services/setup/tools.mjs';
import { runNode, runVitest } from './vitest-run.mjs';

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
  'srt-tools',
];

/** These wait for time-outs more than they work, and do not care when. */
const PATIENT_TESTS = {
  besideChecks: [
    'test/interop/whip-sessions.test.ts',
    'test/interop/redis-faults.test.ts',
    'test/e2e/bad-input.test.ts',
    'test/e2e/redis-lost.test.ts',
  ],
  besideUnitTests: [
    'test/interop/stream-output.test.ts',
    'test/interop/srt-listener.test.ts',
    'test/interop/srt-policies.test.ts',
  ],
};
const NONE = { passed: 0, skipped: 0 };
/** Files that may be tried again. */
const MAX_SECOND_TRIES = 8;
const SOAK_TIMEOUT_MS = 90 * 60_000;
const CHECK_TIMEOUT_MS = 5 * 60_000;

/** @import { Outcome } from './vitest-run.mjs' */

const flags = new Set(process.argv.slice(2));
const words = process.argv.slice(2).filter((word) => !word.startsWith('--'));
const startedAtMs = Date.now();
await prepareMachine();
if (flags.has('--bench')) {
  const { runBenches } = await import('./bench-runner.mjs');
  process.exitCode = await runBenches(words);
} else if (flags.has('--soak')) {
  process.exitCode = report(await runVitest(['soak'], { words, workers: 1, timeoutMs: SOAK_TIMEOUT_MS }));
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

/** @returns {Promise<Outcome>} */
async function runEverything() {
  /** @type {Outcome} */
  const total = { passed: 0, failures: [], skipped: 0 };
  const add = (outcome) => {
    total.passed += outcome.passed;
    total.skipped += outcome.skipped;
    total.failures.push(...outcome.failures);
  };
  const { besideChecks, besideUnitTests } = PATIENT_TESTS;
  const first = runVitest(['interop', 'e2e'], { words: besideChecks, workers: 3 });
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
  return secondTry(total);
}

/**
 * Real media in real time on machines that others use as well: what failed is tried again at the end, with nothing of
 * ours beside it. The report names what needed it. Many at once are no accident, and stay failed.
 * @param {Outcome} total @returns {Promise<Outcome>}
 */
async function secondTry(total) {
  const again = total.failures.filter(({ file }) => file !== undefined);
  if (again.length > MAX_SECOND_TRIES) {
    return total;
  }
  const outcome = { ...total, failures: total.failures.filter(({ file }) => file === undefined) };
  for (const failure of again) {
    const { file, names, rest } = failure;
    step(`second try: ${[file, ...names].join(' > ')}`);
    const whole = names.length === 0;
    const { passed, skipped, failures } = await runVitest([], {
      words: [file],
      names,
      workers: 1,
      calm: true,
    });
    if (failures.length > 0 || passed < Math.max(1, names.length)) {
      outcome.failures.push(failure);
      continue;
    }
    console.log(`PASSED AT THE SECOND TRY: ${[file, ...names].join(' > ')}`);
    outcome.passed += whole ? passed - rest.passed : passed;
    outcome.skipped += whole ? skipped - rest.skipped : 0;
  }
  return outcome;
}

/** One tool over the whole project counts as one test. @returns {Promise<Outcome>} */
async function check(name, args) {
  step(name);
  const code = await runNode(args, CHECK_TIMEOUT_MS);
  return {
    passed: code === 0 ? 1 : 0,
    failures: code === 0 ? [] : [{ names: [name], rest: NONE }],
    skipped: 0,
  };
}

/** The last lines of the run: what failed, by name, and how many. @param {Outcome} outcome */
function report({ passed, failures, skipped }) {
  for (const { file, names } of failures) {
    for (const name of names.length === 0 ? ['(the file itself)'] : names) {
      console.log(`FAILED: ${file === undefined ? '' : `${file} > `}${name}`);
    }
  }
  const failed = failures.reduce((sum, { names }) => sum + Math.max(1, names.length), 0);
  const seconds = Math.round((Date.now() - startedAtMs) / 1000);
  step(`took ${Math.floor(seconds / 60)} min ${seconds % 60} s`);
  console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
  return failed === 0 && passed > 0 ? 0 : 1;
}
