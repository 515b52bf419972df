import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { sampleConfig } from '../../services/base/config/sample.ts';
import { createMetrics } from '../../services/base/metrics/metrics.ts';
import { MemoryBus } from '../../services/bus/memory-bus.ts';
import {
  countPublishing,
  observeEgress,
  observeIngress,
  observePacketLatency,
  observeRooms,
} from '../../services/cli/service-metrics.ts';

const root = path.resolve(import.meta.dirname, '..', '..');
const read = (file: string): Promise<string> => readFile(path.join(root, file), 'utf8');

describe('project files', () => {
  it('has a sample configuration that the schema wrote', async () => {
    expect(await read('docker/config.sample.yaml')).toBe(sampleConfig());
  });

  it('has a lockfile that npm ci accepts, and exact versions only', async () => {
    await promisify(execFile)('npm', ['ci', '--dry-run', '--ignore-scripts', '--no-audit', '--no-fund'], {
      cwd: root,
      timeout: 110_000,
    });
    const manifest = JSON.parse(await read('package.json')) as Record<string, Record<string, string>>;
    const versions = Object.values({ ...manifest['dependencies'], ...manifest['devDependencies'] });
    expect(versions.filter((version) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([]);
  });

  it('keeps the lockfile free of download addresses, so that any registry mirror works', async () => {
    expect(await read('package-lock.json')).not.toContain('"resolved": "http');
  });

  it('documents every metric, and no other', async () => {
    const metrics = createMetrics({ nodeId: 'ND_test', processMetrics: false });
    observeRooms(metrics, new MemoryBus());
    observeIngress(metrics, { activeIngressIds: () => [], work: () => [], isAvailable: () => true });
    countPublishing(metrics);
    observePacketLatency(metrics);
    observeEgress(metrics, { jobs: () => [] });
    const counted = `${await read('services/api/twirp-mount.ts')}${await read('services/cli/compose.ts')}`;
    const own = [...counted.matchAll(/'(livekit_\w+)'/g)].map((match) => match[1]);
    const names = [...metrics.names(), ...own].sort();
    const documented = [...(await read('docs/metrics.md')).matchAll(/`(livekit_\w+)`/g)].map(
      (match) => match[1],
    );
    expect(documented.sort()).toEqual(names);
  });

  it('explains every command of the program in its help', async () => {
    const { stdout } = await promisify(execFile)(process.execPath, ['dist/main.js', '--help'], { cwd: root });
    for (const name of [
      'serve',
      'demo',
      'doctor',
      'create-join-token',
      'room list',
      'egress list',
      'ingress list',
    ]) {
      expect(stdout).toContain(name);
    }
  });
});
