import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';

const TURNSERVER = '/usr/bin/turnserver';
const START_TIMEOUT_MS = 10_000;

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
  await untilListening(port);
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

/** coturn takes no port 0. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function untilListening(port: number): Promise<void> {
  const deadlineMs = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    const socket = connect(port, '127.0.0.1');
    try {
      await once(socket, 'connect');
      return;
    } catch (error) {
      if (Date.now() > deadlineMs) {
        throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    } finally {
      socket.destroy();
    }
  }
}
