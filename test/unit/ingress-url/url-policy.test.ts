import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UrlPolicy } from '../../../services/ingress/url/url-policy.ts';

const names: Record<string, string[]> = {
  'media.example': ['93.184.215.14', '2606:2800:21f:cb07:6820:80da:af6b:8b2c'],
  'inside.example': ['10.0.0.7'],
  'mixed.example': ['93.184.215.14', '127.0.0.1'],
  'metadata.example': ['169.254.169.254'],
};
const resolve = (host: string): Promise<{ address: string }[]> => {
  const found = names[host];
  return found === undefined
    ? Promise.reject(new Error('ENOTFOUND'))
    : Promise.resolve(found.map((address) => ({ address })));
};
const policy = new UrlPolicy({ allowAddresses: [], fileRoot: '', resolve });

describe('what a URL input may reach', () => {
  it.each(['http://media.example/a.mp4', 'https://93.184.215.14/live.m3u8', 'http://[2606:4700::1111]/x'])(
    'allows %s',
    async (url) => {
      await expect(policy.target(url)).resolves.toEqual({ kind: 'http', url });
    },
  );

  it.each([
    ...['127.0.0.1', '127.9.9.9', '0.0.0.0', '10.1.2.3', '172.16.0.1', '172.31.255.255', '192.168.1.1'],
    ...['169.254.169.254', '100.64.0.1', '192.0.0.8', '198.18.0.1', '224.0.0.1', '255.255.255.255'],
    ...['[::1]', '[::]', '[fe80::1]', '[fc00::1]', '[fd12:3456::1]', '[ff02::1]', '[2002:7f00:1::]'],
    ...['[::ffff:127.0.0.1]', '[::ffff:a00:1]', '[64:ff9b::7f00:1]', '[64:ff9b::10.0.0.1]', '[::127.0.0.1]'],
    ...['2130706433', '0x7f.1', '0177.0.0.1', '127.1'],
    ...['inside.example', 'mixed.example', 'metadata.example'],
  ])('refuses %s', async (host) => {
    await expect(policy.target(`http://${host}/a.mp4`)).rejects.toMatchObject({
      code: 'permission_denied',
      message: expect.stringContaining('allow_addresses') as string,
    });
  });

  it('refuses numbers in disguise that only the resolver understands', async () => {
    // ffmpeg hands the host over as written; the system's resolver reads this as 127.0.0.1.
    const system = new UrlPolicy({ allowAddresses: [], fileRoot: '' });
    await expect(system.address('2130706433')).rejects.toMatchObject({ code: 'permission_denied' });
    await expect(system.address('localhost')).rejects.toMatchObject({ code: 'permission_denied' });
  });

  it('says that a name cannot be resolved', async () => {
    await expect(policy.target('http://nowhere.example/')).rejects.toMatchObject({
      code: 'unavailable',
      message: 'nowhere.example cannot be resolved',
    });
  });

  it.each([
    ['ftp://media.example/a', 'invalid ingress: invalid url scheme ftp'],
    ['concat:http://media.example/a', 'invalid ingress: invalid url scheme concat'],
    ['not a url', 'invalid ingress: the url is not a URL'],
  ])('refuses %s', async (url, message) => {
    await expect(policy.target(url)).rejects.toMatchObject({ code: 'invalid_argument', message });
  });

  it('lets the operator open single ranges', async () => {
    const open = new UrlPolicy({ allowAddresses: ['10.0.0.0/24', 'fd00::/8'], fileRoot: '', resolve });
    await expect(open.address('inside.example')).resolves.toBe('10.0.0.7');
    await expect(open.address('[fd00::5]')).resolves.toBe('fd00::5');
    await expect(open.address('10.0.1.1')).rejects.toMatchObject({ code: 'permission_denied' });
    for (const range of ['10.0.0.0', 'ten/8', '10.0.0.0/33', '::/129']) {
      expect(() => new UrlPolicy({ allowAddresses: [range], fileRoot: '' })).toThrow(range);
    }
  });
});

describe('files', () => {
  let dir: string;
  beforeAll(async () => {
    dir = await mkdtemp(path.join(tmpdir(), 'sluice-url-'));
    await mkdir(path.join(dir, 'media'));
    await writeFile(path.join(dir, 'media', 'a clip.mp4'), '');
    await writeFile(path.join(dir, 'secret.mp4'), '');
    await symlink(path.join(dir, 'secret.mp4'), path.join(dir, 'media', 'link.mp4'));
  });
  afterAll(() => rm(dir, { recursive: true }));

  it('are read below the folder only, links followed', async () => {
    const files = new UrlPolicy({ allowAddresses: [], fileRoot: path.join(dir, 'media') });
    const url = (name: string): string => pathToFileURL(path.join(dir, name)).href;
    await expect(files.target(url('media/a clip.mp4'))).resolves.toEqual({
      kind: 'file',
      path: path.join(dir, 'media', 'a clip.mp4'),
    });
    for (const name of ['secret.mp4', 'media/link.mp4', 'media/none.mp4', 'media']) {
      await expect(files.target(url(name))).rejects.toMatchObject({ code: 'not_found' });
    }
    await expect(files.target(`file://${dir}/media/../secret.mp4`)).rejects.toMatchObject({
      code: 'not_found',
    });
    await expect(files.target(`file://host${dir}/media/a%20clip.mp4`)).rejects.toMatchObject({
      code: 'invalid_argument',
    });
  });

  it('are refused without a folder', async () => {
    await expect(policy.target('file:///etc/passwd')).rejects.toMatchObject({
      code: 'permission_denied',
      message: expect.stringContaining('file_root') as string,
    });
  });
});
