import { cp, mkdir, readdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const templatesDir = path.dirname(fileURLToPath(import.meta.url));
const STATIC = /\.(html|css|svg|png|ico|webmanifest)$/;
const SCRIPTS = ['main.ts', 'worker.ts'];

/**
 * Bundles every folder of templates/ that has an index.html into `<outDir>/<folder>/`: main.ts and worker.ts
 * become self-contained scripts, static files are copied. Nothing is fetched when a page runs.
 * @param {{ outDir: string }} options
 * @returns {Promise<string[]>} the names of the templates built
 */
export async function buildTemplates({ outDir }) {
  const names = [];
  for (const entry of await readdir(templatesDir, { withFileTypes: true })) {
    if (entry.isDirectory() && (await exists(path.join(templatesDir, entry.name, 'index.html')))) {
      names.push(entry.name);
    }
  }
  await Promise.all(names.map((name) => buildTemplate(name, path.join(outDir, name))));
  return names;
}

async function buildTemplate(name, outDir) {
  const sourceDir = path.join(templatesDir, name);
  await rm(outDir, { recursive: true, force: true });
  await mkdir(outDir, { recursive: true });
  const files = await readdir(sourceDir, { withFileTypes: true });
  const names = files.filter((file) => file.isFile()).map((file) => file.name);
  await Promise.all([
    ...names
      .filter((file) => STATIC.test(file) || (file.endsWith('.js') && !names.includes('main.ts')))
      .map((file) => cp(path.join(sourceDir, file), path.join(outDir, file))),
    build({
      entryPoints: names.filter((file) => SCRIPTS.includes(file)).map((file) => path.join(sourceDir, file)),
      outdir: outDir,
      bundle: true,
      minify: true,
      format: 'esm',
      platform: 'browser',
      target: 'chrome120',
      legalComments: 'linked',
      logLevel: 'warning',
    }),
  ]);
}

async function exists(file) {
  return stat(file).then(
    () => true,
    () => false,
  );
}
