import { defineConfig } from 'vitest/config';

/** unit: pure, in-process; interop: peers nobody here wrote; e2e: the built program; soak: it, for a long time. */
function project(name: string, testTimeoutMs: number) {
  return {
    extends: true as const,
    test: {
      name,
      include: [`test/${name}/**/*.test.ts`],
      testTimeout: testTimeoutMs,
      hookTimeout: 60_000,
      ...(name === 'soak' ? { fileParallelism: false } : {}),
    },
  };
}

export default defineConfig({
  test: {
    pool: 'forks',
    // Not as an option: vitest would not pass it on to the projects.
    maxWorkers: Number(process.env['SLUICE_TEST_WORKERS'] ?? 2),
    projects: [
      project('unit', 20_000),
      project('meta', 120_000),
      project('interop', 60_000),
      project('e2e', 180_000),
      project('soak', 3_600_000),
    ],
  },
});
