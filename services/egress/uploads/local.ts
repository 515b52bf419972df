import { copyFile, mkdir, open, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { ServiceError, messageOf } from '../../base/errors.ts';
import { randomString } from '../../base/ids.ts';
import type { LocalTarget } from '../../model/egress.ts';
import type { Storage } from './storage.ts';

/**
 * The disk of this machine. Relative paths start in the recordings folder and cannot leave it; absolute paths are
 * taken as they are, as LiveKit does.
 */
export function localStorage(target: LocalTarget): Storage {
  return {
    async preflight(storagePath) {
      const file = resolvePath(target, storagePath);
      const folder = storagePath === '' || storagePath.endsWith('/') ? file : path.dirname(file);
      const probe = path.join(folder, `.sluice-probe-${randomString(8)}`);
      try {
        await mkdir(folder, { recursive: true });
        const handle = await open(probe, 'wx');
        try {
          await handle.writeFile('probe');
        } finally {
          await handle.close();
          await rm(probe, { force: true });
        }
      } catch (error) {
        throw notWritable(folder, error);
      }
    },
    async store({ file, storagePath }) {
      const destination = resolvePath(target, storagePath);
      const partial = `${destination}.${randomString(8)}.part`;
      try {
        await mkdir(path.dirname(destination), { recursive: true });
        await rename(file, destination).catch(async (error: unknown) => {
          if ((error as NodeJS.ErrnoException).code !== 'EXDEV') {
            throw error;
          }
          // Another file system: nobody may see half a file under the final name.
          await copyFile(file, partial);
          await rename(partial, destination);
          await rm(file);
        });
      } catch (error) {
        await rm(partial, { force: true });
        throw notWritable(destination, error);
      }
      return { location: destination };
    },
    close: () => undefined,
  };
}

/** @throws ServiceError invalid_argument when a relative path climbs out of the root. */
export function resolvePath(target: LocalTarget, storagePath: string): string {
  const root = path.resolve(target.rootDir);
  const resolved = path.resolve(root, storagePath);
  const isInside = resolved === root || resolved.startsWith(root + path.sep);
  if (!path.isAbsolute(storagePath) && !isInside) {
    throw new ServiceError(
      'invalid_argument',
      `filepath "${storagePath}" leaves the recordings folder; use a path without ".."`,
    );
  }
  return resolved;
}

function notWritable(where: string, error: unknown): ServiceError {
  return new ServiceError(
    'permission_denied',
    `cannot write "${where}": ${messageOf(error)}; choose another filepath or make the folder writable`,
    { blame: 'destination', cause: error },
  );
}
