import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startApiHarness, type ApiHarness } from '../../support/api-harness.ts';

describe('first page and recordings', () => {
  let dir: string;
  let harness: ApiHarness;
  let authorization: string;
  beforeAll(async () => {
    dir = await mkdtemp(path.join(tmpdir(), 'sluice-rec-'));
    const recordingsDir = path.join(dir, 'recordings');
    await mkdir(path.join(recordingsDir, 'room a'), { recursive: true });
    await writeFile(path.join(recordingsDir, 'room a', 'x.mp4'), '0123456789');
    await writeFile(path.join(recordingsDir, 'notes.txt'), 'not media');
    await writeFile(path.join(dir, 'secret.mp4'), 'outside');
    await symlink(path.join(dir, 'secret.mp4'), path.join(recordingsDir, 'link.mp4'));
    await writeFile(path.join(dir, 'index.html'), '<title>Sluice</title>');
    harness = await startApiHarness({ recordingsDir, homeDir: dir, openOnLoopback: true });
    authorization = `Bearer ${await harness.token({ roomRecord: true })}`;
  });
  afterAll(async () => {
    await harness.close();
    await rm(dir, { recursive: true, force: true });
  });

  /** Like fetch, but sends the path and headers as they are. */
  const raw = (
    target: string,
    headers: Record<string, string>,
    method = 'GET',
  ): Promise<{ status: number; body: string }> =>
    new Promise((resolve, reject) => {
      const request = http.request(
        { host: '127.0.0.1', port: harness.api.port, path: target, method, headers },
        (response) => {
          let body = '';
          response.on('data', (chunk: Buffer) => (body += chunk.toString()));
          response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
        },
      );
      request.on('error', reject);
      request.end();
    });

  it('lists media files with links that open exactly that file without a header', async () => {
    expect((await fetch(`${harness.url}/recordings`)).status).toBe(401);
    const answer = await fetch(`${harness.url}/recordings`, { headers: { authorization } });
    const { recordings } = (await answer.json()) as {
      recordings: { path: string; bytes: number; url: string }[];
    };
    expect(recordings).toMatchObject([{ path: 'room a/x.mp4', bytes: 10 }]);
    const link = recordings[0]?.url ?? '';
    const file = await fetch(harness.url + link);
    expect([file.status, file.headers.get('content-type'), await file.text()]).toEqual([
      200,
      'video/mp4',
      '0123456789',
    ]);
    const other = link.replace('x.mp4', 'y.mp4');
    expect((await fetch(harness.url + other)).status).toBe(401);
    const asApiToken = new URL(harness.url + link).searchParams.get('token') ?? '';
    const api = await fetch(`${harness.url}/twirp/livekit.Egress/ListEgress`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${asApiToken}` },
      body: '{}',
    });
    expect(api.status).toBe(401);
  });

  it.each([
    ['bytes=2-4', 206, '234', 'bytes 2-4/10'],
    ['bytes=7-', 206, '789', 'bytes 7-9/10'],
    ['bytes=-3', 206, '789', 'bytes 7-9/10'],
    ['bytes=0-999', 206, '0123456789', 'bytes 0-9/10'],
    ['bytes=x', 200, '0123456789', null],
  ])('serves the range %s', async (range, status, body, contentRange) => {
    const answer = await fetch(`${harness.url}/recordings/room%20a/x.mp4`, {
      headers: { authorization, range },
    });
    expect([answer.status, await answer.text(), answer.headers.get('content-range')]).toEqual([
      status,
      body,
      contentRange,
    ]);
  });

  it.each([
    '/recordings/../secret.mp4',
    '/recordings/%2e%2e/secret.mp4',
    '/recordings/%2e%2e%2fsecret.mp4',
    '/recordings/room%20a/..%2f..%2fsecret.mp4',
    '/recordings/link.mp4',
    '/recordings/notes.txt',
    '/recordings/room%20a',
    '/recordings//etc/passwd',
    '/recordings/%00.mp4',
  ])('does not serve %s', async (target) => {
    const answer = await raw(target, { authorization });
    expect([400, 404]).toContain(answer.status);
    expect(answer.body).not.toContain('outside');
  });

  it('gives the page a token only to a browser on this machine that came by a loopback name', async () => {
    const open = await raw('/home/session', { host: `localhost:${harness.api.port}` }, 'POST');
    expect(open.status).toBe(200);
    const attempts: Record<string, string>[] = [
      { host: 'evil.example' }, // DNS rebinding
      { host: 'localhost', origin: 'https://evil.example' },
      { host: 'localhost', 'sec-fetch-site': 'cross-site' },
    ];
    for (const headers of attempts) {
      expect((await raw('/home/session', headers, 'POST')).status).toBe(401);
    }
    const closed = await startApiHarness({ openOnLoopback: false });
    expect((await fetch(`${closed.url}/home/session`, { method: 'POST' })).status).toBe(401);
    await closed.close();
  });

  it('answers OK to LiveKit clients and HTML to browsers', async () => {
    expect((await raw('/', {})).body).toBe('OK');
    expect((await raw('/', {}, 'HEAD')).status).toBe(200);
    expect((await raw('/', { accept: 'text/html' })).body).toContain('<title>Sluice</title>');
    expect((await raw('/healthz', {})).body).toBe('OK');
    expect((await raw('/metrics', {})).body).toContain('livekit_api_request_seconds');
  });
});
