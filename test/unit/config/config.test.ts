import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parse } from 'yaml';
import { describe, expect, it } from 'vitest';
import { loadConfig, type LoadedConfig } from '../../../services/base/config/load.ts';
import { sampleConfig } from '../../../services/base/config/sample.ts';
import { configSchema } from '../../../services/base/config/schema.ts';

const load = (body: string, env: Record<string, string> = {}): Promise<LoadedConfig> =>
  loadConfig({ env: { LIVEKIT_CONFIG: body, ...env } });

describe('configuration', () => {
  it('needs nothing: development keys, and this machine only', async () => {
    const { config, devKeys } = await loadConfig({ env: {} });
    expect(devKeys).toBe(true);
    expect(config).toMatchObject({
      port: 7880,
      bind_addresses: ['127.0.0.1'],
      keys: { devkey: 'secret' },
      rtc: { udp_port: 7882, tcp_port: 7881 },
      ingress: { rtmp_port: 1935 },
      recordings_dir: './recordings',
    });
  });

  it('listens everywhere once own keys are set, and knows the public pair by its value', async () => {
    expect((await load('keys: {APIx: own-secret}')).config.bind_addresses).toEqual(['0.0.0.0']);
    expect(await load('keys: {devkey: secret}')).toMatchObject({ devKeys: true });
    expect(await load('keys: {devkey: changed}')).toMatchObject({ devKeys: false });
  });

  it.each([
    ['port: 1\nprot: 2', 'prot: unknown key'],
    ['egress: {foo: 1}', 'egress.foo: unknown key'],
    ['egress: {storage: {s3: {bucket: b, secrets: x}}}', 'egress.storage.s3.secrets: unknown key'],
    ['egress: {storage: {s3: {}}}', 'egress.storage.s3.bucket'],
    ['port: abc', 'port: '],
    ['rtc: {udp_port: 70000}', 'rtc.udp_port: '],
    ['ingress: {rtmp_port: -2}', 'ingress.rtmp_port: '],
    ['port: -1', 'port: '],
    ['rtc: {node_ip: example.com}', 'rtc.node_ip: '],
    ['bind_addresses: [nonsense]', 'bind_addresses.0: '],
    ['turn: {enabled: true}', 'TURN'],
    ['[1, 2', 'not valid YAML'],
    ['- a', 'mapping'],
    ['a: &x [*x]', 'LIVEKIT_CONFIG'],
  ])('refuses %j naming the place', async (body, message) => {
    await expect(load(body)).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining(message) as unknown,
    });
  });

  it('takes LiveKit’s -1 for a listener of the ingress that is off', async () => {
    const { config } = await load('ingress: {rtmp_port: -1, whip_port: -1}');
    expect(config.ingress).toMatchObject({ rtmp_port: -1, whip_port: -1 });
  });

  it('takes the file, then the environment, then the flags', async () => {
    const dir = await mkdtemp(path.join(tmpdir(), 'sluice-config-'));
    const file = path.join(dir, 'c.yaml');
    await writeFile(file, 'port: 1\nrtc: {udp_port: 1}\ningress: {rtmp_port: 1}\n');
    const { config, source } = await loadConfig({
      file,
      env: { LIVEKIT_CONFIG: 'port: 9', UDP_PORT: '2', SLUICE_RTMP_PORT: '2', NODE_IP: '10.0.0.1' },
      overrides: [{ path: ['ingress', 'rtmp_port'], value: 3, from: '--rtmp-port' }],
    });
    expect(source).toBe(file);
    expect([config.port, config.rtc.udp_port, config.ingress.rtmp_port]).toEqual([1, 2, 3]);
    expect(config.rtc.node_ip).toBe('10.0.0.1');
    await rm(dir, { recursive: true });
    await expect(loadConfig({ file, env: {} })).rejects.toThrow(file);
  });

  it('reads keys in LiveKit’s forms', async () => {
    expect((await load('', { LIVEKIT_KEYS: 'a: b\nc: d' })).config.keys).toEqual({ a: 'b', c: 'd' });
    const pair = { LIVEKIT_API_KEY: 'k', LIVEKIT_API_SECRET: 's' };
    expect((await load('keys: {a: b}', pair)).config.keys).toEqual({ a: 'b', k: 's' });
    await expect(load('', { LIVEKIT_KEYS: 'just-a-word' })).rejects.toThrow('LIVEKIT_KEYS');
    await expect(load('', { UDP_PORT: 'many' })).rejects.toThrow('UDP_PORT');
  });

  it('has a sample that means exactly the defaults, and whose commented lines are valid too', async () => {
    const sample = sampleConfig();
    expect(configSchema.parse(parse(sample))).toEqual(configSchema.parse({}));
    const everything = sample
      .split('\n')
      .map((line) => line.replace(/^(\s*)# (?=(\s*# |\s*[\w]+:( |$)))/, '$1'))
      .join('\n');
    const { config } = await load(everything);
    expect(config.egress.storage?.s3.bucket).toBe('recordings');
    expect(config.rtc.node_ip).toBe('203.0.113.7');
  });
});
