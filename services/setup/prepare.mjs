import { ensureBuild } from './build-state.mjs';
import { ensureDependencies } from './dependencies.mjs';
import { ensureTools } from './tools.mjs';

/**
 * Brings a fresh checkout to the point where dist/main.js can run: npm packages, dist/, ffmpeg and Chromium.
 * Quick when nothing is missing. Sets FFMPEG_PATH & co. only where something was found off the PATH.
 * @param {{ purpose: 'run' | 'test' }} options
 */
export async function prepare({ purpose }) {
  await ensureDependencies();
  await ensureBuild();
  await ensureTools({ required: purpose === 'test' });
}
