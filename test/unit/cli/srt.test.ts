import { expect, it } from 'vitest';
import { loadConfig } from '../../../services/base/config/load.ts';
import type { Config } from '../../../services/base/config/schema.ts';
import { srtOptions, srtUrl } from '../../../services/cli/srt.ts';

async function configOf(ingress: Record<string, unknown>): Promise<Config> {
  return (await loadConfig({ env: { LIVEKIT_CONFIG: JSON.stringify({ ingress }) } })).config;
}

it('is off unless a port is named', async () => {
  const config = await configOf({});
  expect(srtOptions(config, { canSrt: true })).toBeUndefined();
  expect(srtUrl(config, 'media.test', 0)).toBe('');
});

it('shows its port, or the address in front of it', async () => {
  const config = await configOf({ srt_port: 0, srt_passphrase: 'correct-horse' });
  expect(srtOptions(config, { canSrt: true })).toEqual({
    ...{ port: 0, bindAddress: '127.0.0.1', passphrase: 'correct-horse' },
  });
  expect(srtUrl(config, 'media.test', 9_000)).toBe('srt://media.test:9000');
  const front = await configOf({ srt_port: 0, srt_base_url: 'srt://ingest.test:9' });
  expect(srtUrl(front, 'media.test', 9_000)).toBe('srt://ingest.test:9');
});

it('needs an ffmpeg that speaks SRT, and a passphrase libsrt takes', async () => {
  const config = await configOf({ srt_port: 0 });
  expect(() => srtOptions(config, { canSrt: false })).toThrow(/srt_port: this ffmpeg is built without SRT/);
  await expect(configOf({ srt_passphrase: 'short' })).rejects.toThrow(/srt_passphrase.*10 to 64 characters/);
});
