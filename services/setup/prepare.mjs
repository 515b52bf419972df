import { ensureBuild } from './build-state.mjs';
import { ensureDependencies } from './dependencies.mjs';
import { ensureTools } from './tools.mjs';

/**
 * Brings a fresh checkout to the point where dist/main.js can run: npm packages, dist/, ffmpeg and Chromium.
 * Quick when nothing is missing, silent then too.
 * @param {{ tools: 'skip' | 'wanted' | 'required', packages?: string[] }} options wanted: a missing tool is
 *   announced; required: it is an error. packages: further Debian packages (tests).
 */
export async function prepare({ tools, packages = [] }) {
  await ensureDependencies();
  await ensureBuild();
  if (tools !== 'skip') {
    await ensureTools({ required: tools === 'required', packages });
  }
}
