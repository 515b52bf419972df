import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { freePorts } from './ports.ts';

/** Debian packages that hold OpenStack Swift with its S3 interface. */
export const SWIFT_PACKAGES = [
  'swift-proxy',
  'swift-account',
  'swift-container',
  'swift-object',
  'memcached',
  'python3-swift',
] as const;

export type Swift = {
  endpoint: string;
  accessKey: string;
  secret: string;
  close(): Promise<void>;
};

const SERVERS = ['account', 'container', 'object'] as const;
const START_TIMEOUT_MS = 40_000;
const RUNNER = `import sys, runpy
import swift.common.utils as u
u.SWIFT_CONF_FILE = sys.argv[1]
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name='__main__')
`;

/**
 * An S3 server nobody here wrote: OpenStack Swift, one process per service, everything in a folder of its own.
 * Works with and without root. Ends by process id.
 */
export async function startSwift(): Promise<Swift> {
  const missing = [
    ...['swift-ring-builder', 'memcached', ...[...SERVERS, 'proxy'].map((name) => `swift-${name}-server`)],
  ].filter((name) => find(name) === undefined);
  if (missing.length > 0) {
    throw new Error(
      `not installed: ${missing.join(', ')} – run: apt-get install -y --no-install-recommends ${SWIFT_PACKAGES.join(' ')}`,
    );
  }
  const folder = await mkdtemp(path.join(tmpdir(), 'sluice-swift-'));
  const [account, container, object, proxy, cache] = await freePorts(5);
  const ports = { account, container, object, proxy, cache } as Record<string, number>;
  writeConfig(folder, ports);
  buildRings(folder, ports);
  const processes: ChildProcess[] = [];
  const start = (name: string, command: string, args: string[]): void => {
    const log = openSync(path.join(folder, `${name}.log`), 'w');
    processes.push(spawn(command, args, { cwd: folder, stdio: ['ignore', log, log] }));
  };
  const close = async (): Promise<void> => {
    await Promise.all(processes.map(end));
    rmSync(folder, { recursive: true, force: true });
  };
  start('memcached', find('memcached') ?? '', [
    ...['-l', '127.0.0.1', '-p', String(ports['cache']), '-m', '16', '-U', '0'],
    ...(process.getuid?.() === 0 ? ['-u', 'root'] : []),
  ]);
  for (const name of [...SERVERS, 'proxy']) {
    start(name, '/usr/bin/python3', [
      ...['-W', 'ignore', path.join(folder, 'run.py'), path.join(folder, 'swift.conf')],
      ...[find(`swift-${name}-server`) ?? '', path.join(folder, `${name}.conf`)],
    ]);
  }
  const endpoint = `http://127.0.0.1:${String(proxy)}`;
  try {
    await waitUntilHealthy(endpoint, folder);
  } catch (error) {
    await close();
    throw error;
  }
  return { endpoint, accessKey: 'test:tester', secret: 'testing', close };
}

function writeConfig(folder: string, ports: Record<string, number>): void {
  const common = (name: string): string => `[DEFAULT]
bind_ip = 127.0.0.1
bind_port = ${String(ports[name])}
workers = 0
user = ${userInfo().username}
swift_dir = ${folder}
log_udp_host = 127.0.0.1
log_udp_port = 9
devices = ${path.join(folder, 'srv')}
mount_check = false
`;
  const pipeline = 'catch_errors gatekeeper healthcheck cache s3api tempauth bulk slo proxy-server';
  mkdirSync(path.join(folder, 'srv', 'disk'), { recursive: true });
  writeFileSync(path.join(folder, 'run.py'), RUNNER);
  writeFileSync(
    path.join(folder, 'swift.conf'),
    '[swift-hash]\nswift_hash_path_prefix = a\nswift_hash_path_suffix = b\n[storage-policy:0]\nname = gold\ndefault = yes\n',
  );
  for (const name of SERVERS) {
    writeFileSync(
      path.join(folder, `${name}.conf`),
      `${common(name)}[pipeline:main]\npipeline = ${name}-server\n[app:${name}-server]\nuse = egg:swift#${name}\n`,
    );
  }
  const filters = pipeline
    .split(' ')
    .filter((name) => !['proxy-server', 'tempauth', 's3api', 'cache'].includes(name))
    .map((name) => `[filter:${name}]\nuse = egg:swift#${name}\n`);
  writeFileSync(
    path.join(folder, 'proxy.conf'),
    `${common('proxy')}[pipeline:main]
pipeline = ${pipeline}
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:s3api]
use = egg:swift#s3api
s3_acl = no
location = us-east-1
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:${String(ports['cache'])}
${filters.join('')}`,
  );
}

/** One device, one replica. */
function buildRings(folder: string, ports: Record<string, number>): void {
  for (const name of SERVERS) {
    const builder = path.join(folder, `${name}.builder`);
    const steps = [
      ['create', '4', '1', '0'],
      ['add', `r1z1-127.0.0.1:${String(ports[name])}/disk`, '1'],
      ['rebalance'],
    ];
    for (const step of steps) {
      const { status, stdout, stderr } = spawnSync(find('swift-ring-builder') ?? '', [builder, ...step], {
        encoding: 'utf8',
      });
      // 1 is a warning ("one replica only").
      if (status !== 0 && status !== 1) {
        throw new Error(`swift-ring-builder ${step.join(' ')} failed: ${stdout}${stderr}`);
      }
    }
  }
}

async function waitUntilHealthy(endpoint: string, folder: string): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    // A write through all layers: the proxy answers long before the storage servers do.
    const ready = await probe(endpoint);
    if (ready) {
      return;
    }
    if (Date.now() > deadline) {
      const log = (name: string): string => {
        const file = path.join(folder, `${name}.log`);
        return existsSync(file) ? `${name}: ${readFileSync(file, 'utf8').slice(-500)}` : '';
      };
      throw new Error(`Swift did not start: ${[...SERVERS, 'proxy', 'memcached'].map(log).join('\n')}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function probe(endpoint: string): Promise<boolean> {
  try {
    const signIn = await fetch(`${endpoint}/auth/v1.0`, {
      headers: { 'x-auth-user': 'test:tester', 'x-auth-key': 'testing' },
    });
    const url = signIn.headers.get('x-storage-url');
    const token = signIn.headers.get('x-auth-token');
    if (url === null || token === null) {
      return false;
    }
    const put = await fetch(`${url}/sluice-ready`, { method: 'PUT', headers: { 'x-auth-token': token } });
    const object = await fetch(`${url}/sluice-ready/probe`, {
      method: 'PUT',
      headers: { 'x-auth-token': token },
      body: 'x',
    });
    return put.ok && object.ok;
  } catch {
    return false;
  }
}

function end(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) {
      resolve();
      return;
    }
    const timer = setTimeout(() => child.kill('SIGKILL'), 3_000);
    child.once('exit', () => {
      clearTimeout(timer);
      resolve();
    });
    child.kill('SIGTERM');
  });
}

function find(name: string): string | undefined {
  return ['/usr/bin', '/usr/sbin', '/usr/local/bin', '/bin']
    .map((folder) => path.join(folder, name))
    .find((file) => existsSync(file));
}
