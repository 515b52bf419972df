import { createReadStream } from 'node:fs';
import { readdir, realpath, stat } from 'node:fs/promises';
import { extname, join, relative, resolve, sep } from 'node:path';
import { ServiceError } from '../base/errors.ts';
import { mintToken, verifyToken, type ApiKeys } from '../protocol/token.ts';

export type Recording = { path: string; bytes: number; modifiedAtMs: number; url: string };

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  '.mp4': 'video/mp4',
  '.webm': 'video/webm',
  '.ogg': 'audio/ogg',
  '.mp3': 'audio/mpeg',
  '.json': 'application/json',
};
const LINK_CLAIM = 'sluice.recording';
const LINK_TTL_S = 3600;
const MAX_LISTED = 500;
const MAX_DEPTH = 4;

/**
 * The finished files below the recordings folder, newest first, each with a link that works for an hour
 * without a token of its own (a <video> element cannot send headers).
 */
export async function listRecordings(root: string, keys: ApiKeys): Promise<Recording[]> {
  const files: Omit<Recording, 'url'>[] = [];
  await collect(root, root, files, 0);
  files.sort((a, b) => b.modifiedAtMs - a.modifiedAtMs);
  return Promise.all(
    files.slice(0, MAX_LISTED).map(async (file) => ({ ...file, url: await signedLink(file.path, keys) })),
  );
}

async function collect(
  root: string,
  folder: string,
  into: Omit<Recording, 'url'>[],
  depth: number,
): Promise<void> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (entry.isDirectory() && depth < MAX_DEPTH && !entry.name.startsWith('.')) {
      await collect(root, path, into, depth + 1);
    } else if (entry.isFile() && extname(entry.name).toLowerCase() in CONTENT_TYPES) {
      const facts = await stat(path).catch(() => undefined);
      if (facts !== undefined) {
        const name = relative(root, path).split(sep).join('/');
        into.push({ path: name, bytes: facts.size, modifiedAtMs: Math.round(facts.mtimeMs) });
      }
    }
  }
}

async function signedLink(path: string, keys: ApiKeys): Promise<string> {
  const [pair] = keys;
  if (pair === undefined) {
    throw new ServiceError('internal', 'no API key is configured');
  }
  // The token carries no grant: it opens this one file and nothing of the API.
  const token = await mintToken(pair[0], pair[1], { attributes: { [LINK_CLAIM]: path }, ttlS: LINK_TTL_S });
  return `/recordings/${path.split('/').map(encodeURIComponent).join('/')}?token=${token}`;
}

/** @throws ServiceError unauthenticated unless the token was made for exactly this file. */
export async function checkRecordingLink(path: string, token: string, keys: ApiKeys): Promise<void> {
  const claims = await verifyToken(token, keys);
  if (claims.attributes[LINK_CLAIM] !== path) {
    throw new ServiceError('unauthenticated', 'this link belongs to another recording');
  }
}

export type FileRange = {
  status: 200 | 206;
  headers: Record<string, string>;
  body: () => NodeJS.ReadableStream;
};

/**
 * One file below the root, or a byte range of it (RFC 9110 section 14, single range).
 * Symbolic links that lead out of the root are refused. @throws ServiceError not_found | out_of_range.
 */
export async function openRecording(
  root: string,
  path: string,
  range: string | undefined,
): Promise<FileRange> {
  const file = await locate(root, path);
  const { size } = await stat(file);
  const headers: Record<string, string> = {
    'content-type': CONTENT_TYPES[extname(file).toLowerCase()] ?? 'application/octet-stream',
    'accept-ranges': 'bytes',
    'cache-control': 'private, no-store',
    'x-content-type-options': 'nosniff',
  };
  const part = parseRange(range, size);
  if (part === undefined) {
    return {
      status: 200,
      headers: { ...headers, 'content-length': String(size) },
      body: () => createReadStream(file),
    };
  }
  const { start, end } = part;
  headers['content-length'] = String(end - start + 1);
  headers['content-range'] = `bytes ${start}-${end}/${size}`;
  return { status: 206, headers, body: () => createReadStream(file, { start, end }) };
}

async function locate(root: string, path: string): Promise<string> {
  try {
    const base = await realpath(root);
    const file = await realpath(resolve(base, path));
    const facts = await stat(file);
    if (file.startsWith(base + sep) && facts.isFile() && extname(file).toLowerCase() in CONTENT_TYPES) {
      return file;
    }
  } catch {
    // A missing file and a forbidden one look the same from outside.
  }
  throw new ServiceError('not_found', 'recording does not exist');
}

function parseRange(header: string | undefined, size: number): { start: number; end: number } | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '');
  if (match === null || (match[1] === '' && match[2] === '')) {
    return undefined;
  }
  const suffix = match[1] === '';
  const start = suffix ? Math.max(0, size - Number(match[2])) : Number(match[1]);
  const end = suffix || match[2] === '' ? size - 1 : Math.min(Number(match[2]), size - 1);
  if (start > end || start >= size) {
    throw new ServiceError('out_of_range', `range not satisfiable: the file has ${size} bytes`);
  }
  return { start, end };
}
