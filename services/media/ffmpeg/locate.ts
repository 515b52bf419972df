import { access, constants } from 'node:fs/promises';
import path from 'node:path';
import ffmpegInstaller from '@ffmpeg-installer/ffmpeg';
import { ServiceError } from '../../base/errors.ts';

/** Where a binary was found: told by the operator, on the PATH, or the last resort from npm. */
export type ToolOrigin = 'configured' | 'system' | 'npm';
export type LocatedTool = { path: string; origin: ToolOrigin };

export type LocateOptions = {
  /** From configuration or FFMPEG_PATH; '' = not set. A path that does not run is an error, never skipped. */
  configuredPath?: string;
  /** The PATH variable to search. */
  searchPath?: string;
};

/**
 * ffmpeg to use: configured path, then PATH, then the build that @ffmpeg-installer ships (2018; crashes on host
 * names, no SRT – `probeFfmpeg` measures and names these limits).
 * @throws ServiceError failed_precondition when a configured path cannot be executed, or nothing was found.
 */
export async function locateFfmpeg(options: LocateOptions = {}): Promise<LocatedTool> {
  const found = await locateOnSystem('ffmpeg', options);
  if (found !== undefined) {
    return found;
  }
  if (await isExecutable(ffmpegInstaller.path)) {
    return { path: ffmpegInstaller.path, origin: 'npm' };
  }
  throw new ServiceError(
    'failed_precondition',
    'ffmpeg not found: install it (apt-get install ffmpeg) or set FFMPEG_PATH',
    { scope: 'node' },
  );
}

/** ffprobe next to ffmpeg or on the PATH; undefined when there is none (npm ships only ffmpeg). */
export async function locateFfprobe(
  ffmpegPath: string,
  options: LocateOptions = {},
): Promise<LocatedTool | undefined> {
  const sibling = path.join(path.dirname(ffmpegPath), 'ffprobe');
  if (!options.configuredPath && (await isExecutable(sibling))) {
    return { path: sibling, origin: 'system' };
  }
  return locateOnSystem('ffprobe', options);
}

async function locateOnSystem(name: string, options: LocateOptions): Promise<LocatedTool | undefined> {
  const configuredPath = options.configuredPath ?? '';
  if (configuredPath !== '') {
    if (await isExecutable(configuredPath)) {
      return { path: configuredPath, origin: 'configured' };
    }
    throw new ServiceError(
      'failed_precondition',
      `${name} path "${configuredPath}" is not an executable file: correct or remove the setting`,
      { scope: 'node', blame: 'caller' },
    );
  }
  for (const folder of (options.searchPath ?? process.env['PATH'] ?? '').split(path.delimiter)) {
    const candidate = path.join(folder, name);
    if (folder !== '' && (await isExecutable(candidate))) {
      return { path: candidate, origin: 'system' };
    }
  }
  return undefined;
}

async function isExecutable(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
