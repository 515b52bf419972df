import path from 'node:path';
import { mintToken } from '../protocol/token.ts';
import type { ServerAccess } from './twirp-client.ts';

type Listed = { recordings: { path: string; url: string }[] };

/** Addresses at which the server hands out these files for an hour; files it does not serve are left out. */
export async function recordingLinks(
  access: ServerAccess,
  files: readonly string[],
): Promise<Map<string, string>> {
  const { url, apiKey, apiSecret } = access;
  const token = await mintToken(apiKey, apiSecret, {
    identity: 'demo',
    video: { roomRecord: true },
    ttlS: 60,
  });
  const answer = await fetch(`${url}/recordings`, { headers: { authorization: `Bearer ${token}` } });
  const { recordings } = answer.ok ? ((await answer.json()) as Listed) : { recordings: [] };
  const links = new Map<string, string>();
  for (const file of files) {
    const served = recordings.find((recording) => file.endsWith(path.normalize(`/${recording.path}`)));
    if (served !== undefined) {
      links.set(file, `${url}${served.url}`);
    }
  }
  return links;
}
