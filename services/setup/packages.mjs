import { execFile } from 'node:child_process';

/**
 * Those of the named Debian packages that are not installed. On systems without dpkg: none, because there the
 * programs themselves are looked for.
 * @param {string[]} names
 * @returns {Promise<string[]>}
 */
export function missingPackages(names) {
  return new Promise((resolve) => {
    execFile('dpkg-query', ['-W', '-f', '${Package} ${db:Status-Status}\\n', ...names], (error, stdout) => {
      if (error?.code === 'ENOENT') {
        resolve([]);
        return;
      }
      const installed = new Set(
        stdout
          .split('\n')
          .filter((line) => line.endsWith(' installed'))
          .map((line) => line.split(' ')[0]),
      );
      resolve(names.filter((name) => !installed.has(name)));
    });
  });
}
