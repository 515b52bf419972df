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
      // Real media in real time on machines that others use as well: a second try, which the report shows as "retry x1".
      ...(name === 'interop' || name === 'e2e' ? { retry: 1 } : {}),
      ...(name === 'soak' ? { fileParallelism: false } : {}),
    },
  };
}

export default defineConfig({
  test: {
    pool: 'forks',
    maxWorkers: 2,
    projects: [
      project('unit', 20_000),
      project('meta', 120_000),
      project('interop', 60_000),
      project('e2e', 180_000),
      project('soak', 3_600_000),
    ],
  },
});
