import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { rootCertificates } from 'node:tls';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadConfig } from '../../../services/base/config/load.ts';
import { urlInputOptions } from '../../../services/cli/url-input.ts';
import { selfSigned } from '../../support/tls-front.ts';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'sluice-ca-'));
});
afterAll(() => rm(dir, { recursive: true }));

async function trust(urlInput: Record<string, unknown>): Promise<unknown> {
  const body = JSON.stringify({ ingress: { url_input: urlInput } });
  const { config } = await loadConfig({ env: { LIVEKIT_CONFIG: body } });
  return (await urlInputOptions(config)).tls;
}

it('trusts public authorities, and those of a file besides', async () => {
  const file = path.join(dir, 'ca.pem');
  const { cert } = selfSigned();
  await writeFile(file, cert);
  expect(await trust({})).toEqual({ verify: true });
  expect(await trust({ tls_verify: false })).toEqual({ verify: false });
  expect(await trust({ tls_ca_file: file })).toEqual({ verify: true, ca: [...rootCertificates, cert] });
});

it('refuses a file without a certificate', async () => {
  const file = path.join(dir, 'nonsense.pem');
  await writeFile(file, 'nonsense');
  for (const one of [file, path.join(dir, 'none.pem')]) {
    await expect(trust({ tls_ca_file: one })).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringMatching(
        new RegExp(`^ingress.url_input.tls_ca_file: ${one} cannot be used`),
      ) as string,
    });
  }
});
