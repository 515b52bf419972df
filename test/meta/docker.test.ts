import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { loadConfig } from '../../services/base/config/load.ts';
import { checkRole, readRole } from '../../services/cli/roles.ts';

const docker = path.resolve(import.meta.dirname, '..', '..', 'docker');
const read = (name: string): Promise<string> => readFile(path.join(docker, name), 'utf8');

type Service = {
  build?: { dockerfile: string; target: string };
  depends_on?: string[] | Record<string, unknown>;
  deploy?: { replicas: number };
  volumes?: string[];
};

/** No daemon here: what can be checked are the files against each other and against the program. */
describe('docker', () => {
  it('builds every role the compose file runs, with a command the program understands', async () => {
    const { services } = parse(await read('compose.yaml')) as { services: Record<string, Service> };
    const dockerfile = await read('Dockerfile');
    const { config, devKeys } = await loadConfig({ file: path.join(docker, 'compose.config.yaml'), env: {} });
    expect(devKeys).toBe(false);
    for (const role of ['server', 'ingress', 'egress']) {
      expect(services[role]?.build).toMatchObject({ dockerfile: 'docker/Dockerfile', target: role });
      const stage = dockerfile.split(/^FROM /m).find((text) => text.startsWith(`base AS ${role}\n`));
      expect(stage).toContain(`CMD ["${role}", "--config", "/etc/sluice.yaml"]`);
      expect(services[role]?.volumes).toEqual(['./compose.config.yaml:/etc/sluice.yaml:ro']);
      checkRole(readRole(role), config, devKeys);
    }
    expect(services['egress']?.deploy?.replicas).toBe(2);
    for (const service of Object.values(services)) {
      const needed = service.depends_on ?? [];
      for (const name of Array.isArray(needed) ? needed : Object.keys(needed)) {
        expect(Object.keys(services)).toContain(name);
      }
    }
  });

  it('points the roles at each other', async () => {
    const { config } = await loadConfig({ file: path.join(docker, 'compose.config.yaml'), env: {} });
    expect(config.redis?.address).toBe('redis:6379');
    expect(config.ws_url).toBe('ws://server:7880');
    expect(config.egress.storage?.s3.endpoint).toBe('http://storage:9000');
    expect(config.rtc.advertise_internal_ip).toBe(true);
  });
});
