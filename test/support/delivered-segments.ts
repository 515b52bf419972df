import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parsePlaylist } from '../../services/media/hls/playlist.ts';
import { ffmpeg } from './ffmpeg-encoder.ts';

/** Contents of what was delivered under a name, from wherever it was stored. */
export type ReadDelivered = (name: string) => Promise<Buffer>;

export const fromFolder =
  (folder: string): ReadDelivered =>
  (name) =>
    readFile(path.join(folder, name));

/**
 * The segments of a finished playlist as one MP4 file that begins at 0, packets as they are.
 * @throws Error when the playlist does not end, lists nothing, or names what is not there.
 */
export async function joinSegments(read: ReadDelivered, playlist: string, file: string): Promise<string> {
  const text = (await read(playlist)).toString();
  const listed = parsePlaylist(text);
  if (!text.trimEnd().endsWith('#EXT-X-ENDLIST') || listed.length === 0) {
    throw new Error(`${playlist} is no finished playlist: ${text}`);
  }
  const folder = path.posix.dirname(playlist);
  const parts = await Promise.all(listed.map(({ name }) => read(path.posix.join(folder, name))));
  await writeFile(`${file}.ts`, Buffer.concat(parts));
  await ffmpeg(['-v', 'error', '-xerror', '-y', '-i', `${file}.ts`, '-c', 'copy', file]);
  return file;
}
