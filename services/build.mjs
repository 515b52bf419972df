import { access, mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const dist = path.join(root, 'dist');

/** What runs under Node: the program itself, and the process that carries one egress job. */
const ENTRY_POINTS = ['services/main.ts', 'services/egress/egress-handler.ts'];

/**
 * Turns the sources into dist/ (main.js, egress-handler.js, templates/). npm packages stay outside the bundles,
 * so stack traces and licences stay theirs.
 * @returns {Promise<void>}
 */
export async function buildAll() {
  await mkdir(dist, { recursive: true });
  const { buildTemplates } = await import('../templates/build.mjs');
  await Promise.all([
    build({
      absWorkingDir: root,
      entryPoints: await present(ENTRY_POINTS),
      outdir: dist,
      entryNames: '[name]',
      bundle: true,
      packages: 'external',
      platform: 'node',
      target: 'node20',
      format: 'esm',
      sourcemap: true,
      logLevel: 'warning',
    }),
    buildTemplates({ outDir: path.join(dist, 'templates') }),
  ]);
  await writeSampleConfig();
  await writeFile(path.join(dist, '.built'), '');
}

/** docker/config.sample.yaml follows the schema; a test fails when somebody edits one without the other. */
async function writeSampleConfig() {
  const outfile = path.join(root, 'node_modules', `.sample-config-${process.pid}.mjs`);
  await build({
    absWorkingDir: root,
    entryPoints: ['services/base/config/sample.ts'],
    outfile,
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    logLevel: 'warning',
  });
  try {
    const { sampleConfig } = await import(`file://${outfile}`);
    await writeFile(path.join(root, 'docker', 'config.sample.yaml'), sampleConfig());
  } finally {
    await rm(outfile, { force: true });
  }
}

async function present(files) {
  const found = [];
  for (const file of files) {
    await access(path.join(root, file)).then(
      () => found.push(file),
      () => undefined,
    );
  }
  return found;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const startedAtMs = Date.now();
  await buildAll();
  console.log(`built dist/ in ${Date.now() - startedAtMs} ms`);
}
