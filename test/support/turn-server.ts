import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { freePort, untilAccepts } from './ports.ts';

const TURNSERVER = '/usr/bin/turnserver';

export type TurnOverTcp = {
  port: number;
  username: string;
  credential: string;
  close(): Promise<void>;
};

/** coturn on loopback that clients reach by TCP only; it relays to UDP. */
export async function startTurnOverTcp(): Promise<TurnOverTcp> {
  if (!existsSync(TURNSERVER)) {
    throw new Error('no TURN server: install the Debian package coturn');
  }
  const dir = mkdtempSync(path.join(tmpdir(), 'sluice-turn-'));
  const port = await freePort();
  const login = { username: 'encoder', credential: 'relayed' };
  const child = spawn(
    TURNSERVER,
    [
      ...['-n', '--no-cli', '--no-tls', '--no-dtls', '--no-udp', '--allow-loopback-peers', '--fingerprint'],
      ...['--listening-ip', '127.0.0.1', '--relay-ip', '127.0.0.1', '--listening-port', String(port)],
      ...['--lt-cred-mech', '--realm', 'sluice.test', '--user', `${login.username}:${login.credential}`],
      ...['--userdb', path.join(dir, 'turndb'), '--pidfile', path.join(dir, 'pid'), '--log-file', 'stdout'],
    ],
    { stdio: 'ignore' },
  );
  const ended = once(child, 'close');
  await untilAccepts(port, child);
  return {
    ...login,
    port,
    async close() {
      child.kill('SIGKILL');
      await ended;
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
