import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, watch } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

const PULSEAUDIO = '/usr/bin/pulseaudio';
const START_TIMEOUT_MS = 10_000;

export type NullSoundCard = {
  /** For the process that is to find it. */
  env: { PULSE_SERVER: string };
  close(): Promise<void>;
};

/** A PulseAudio of its own whose only output is silent: Firefox starts no AudioContext without a sound card. */
export async function startNullSoundCard(): Promise<NullSoundCard> {
  if (!existsSync(PULSEAUDIO)) {
    throw new Error('no PulseAudio: install the Debian package pulseaudio');
  }
  const dir = mkdtempSync(path.join(tmpdir(), 'sluice-sound-'));
  const socket = path.join(dir, 'pulse.socket');
  const child = spawn(
    PULSEAUDIO,
    [
      ...['-n', '--daemonize=no', '--exit-idle-time=-1', '--disable-shm', '--use-pid-file=no'],
      ...['-L', 'module-null-sink', '-L', `module-native-protocol-unix auth-anonymous=1 socket=${socket}`],
    ],
    { stdio: 'ignore', env: { ...process.env, HOME: dir, XDG_RUNTIME_DIR: dir, PULSE_RUNTIME_PATH: dir } },
  );
  const ended = once(child, 'close');
  await waitForFile(dir, socket, ended);
  return {
    env: { PULSE_SERVER: `unix:${socket}` },
    async close() {
      child.kill('SIGTERM');
      await ended;
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

async function waitForFile(dir: string, file: string, ended: Promise<unknown>): Promise<void> {
  const signal = AbortSignal.timeout(START_TIMEOUT_MS);
  const watcher = watch(dir, { signal });
  const gone = ended.then(() => Promise.reject(new Error('PulseAudio ended at once')));
  gone.catch(() => undefined);
  try {
    while (!existsSync(file)) {
      await Promise.race([once(watcher, 'change', { signal }), gone]);
    }
  } finally {
    watcher.close();
  }
}
