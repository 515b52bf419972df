import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** Debian 12 has OBS 29: RTMP with H.264 and AAC; WHIP came with OBS 30. */
export const OBS_PACKAGES = ['obs-studio', 'xvfb', 'libgl1-mesa-dri'] as const;

const STOP_TIMEOUT_MS = 10_000;
const DISPLAY_TIMEOUT_MS = 10_000;
/** OBS 29.0.2, so that it does not greet a first-time user. */
const LAST_VERSION = (29 << 24) | 2;

export type ObsOptions = {
  /** rtmp://host:port/app */
  server: string;
  streamKey: string;
  /** A film that is played in a loop, with its sound. */
  media: string;
  width: number;
  height: number;
  framesPerSecond: number;
  bitrateKbps: number;
};

export type ObsStudio = {
  /** The end of what it has written to its log and the terminal. */
  output: () => string;
  stop(): Promise<void>;
};

/** OBS itself, without a window manager or GPU, streaming from its first moment on. */
export async function startObs(options: ObsOptions): Promise<ObsStudio> {
  if (!existsSync('/usr/bin/obs') || !existsSync('/usr/bin/Xvfb')) {
    throw new Error(
      `not installed: run apt-get install -y --no-install-recommends ${OBS_PACKAGES.join(' ')}`,
    );
  }
  const home = await mkdtemp(path.join(tmpdir(), 'sluice-obs-'));
  await writeProfile(path.join(home, '.config', 'obs-studio'), options);
  const { server: xvfb, display } = await startDisplay();
  const obs = spawn(
    '/usr/bin/obs',
    [
      ...['--startstreaming', '--minimize-to-tray', '--multi', '--disable-shutdown-check'],
      ...['--disable-updater', '--disable-missing-files-check', '--verbose'],
      ...['--profile', 'test', '--collection', 'test', '--scene', 'Scene'],
    ],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...{ PATH: process.env['PATH'] ?? '', LANG: 'C.UTF-8', HOME: home, XDG_RUNTIME_DIR: home },
        ...{ DISPLAY: display, QT_QPA_PLATFORM: 'xcb', LIBGL_ALWAYS_SOFTWARE: '1' },
      },
    },
  );
  let output = '';
  for (const stream of [obs.stdout, obs.stderr]) {
    stream.on('data', (chunk: Buffer) => (output = (output + chunk.toString()).slice(-20_000)));
  }
  const exited = ended(obs);
  return {
    output: () => output,
    async stop() {
      obs.kill('SIGTERM');
      await Promise.race([exited, delay(STOP_TIMEOUT_MS, undefined, { ref: false })]);
      obs.kill('SIGKILL');
      await exited;
      xvfb.kill('SIGTERM');
      await ended(xvfb);
      await rm(home, { recursive: true, force: true });
    },
  };
}

/** A display of its own; Xvfb picks a free number and writes it to file descriptor 3. */
async function startDisplay(): Promise<{ server: ChildProcess; display: string }> {
  const server = spawn(
    'Xvfb',
    ['-displayfd', '3', '-screen', '0', '1280x800x24', '-nolisten', 'tcp', '+extension', 'GLX'],
    { stdio: ['ignore', 'ignore', 'ignore', 'pipe'] },
  );
  const number = await new Promise<string>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('Xvfb gave no display')), DISPLAY_TIMEOUT_MS);
    server.once('error', reject);
    server.stdio[3]?.once('data', (chunk: Buffer) => {
      clearTimeout(timer);
      resolve(chunk.toString().trim());
    });
  });
  return { server, display: `:${number}` };
}

function ended(child: ChildProcess): Promise<void> {
  return child.exitCode !== null || child.signalCode !== null
    ? Promise.resolve()
    : new Promise((resolve) => child.once('close', () => resolve()));
}

async function writeProfile(folder: string, options: ObsOptions): Promise<void> {
  const profile = path.join(folder, 'basic', 'profiles', 'test');
  const scenes = path.join(folder, 'basic', 'scenes');
  await mkdir(profile, { recursive: true });
  await mkdir(scenes, { recursive: true });
  const { width, height, framesPerSecond, bitrateKbps, server, streamKey, media } = options;
  await writeFile(
    path.join(folder, 'global.ini'),
    ini({
      General: { FirstRun: true, LastVersion: LAST_VERSION, EnableAutoUpdates: false },
      Basic: { Profile: 'test', ProfileDir: 'test', SceneCollection: 'test', SceneCollectionFile: 'test' },
      BasicWindow: { PreviewEnabled: false, SysTrayEnabled: false, WarnBeforeStartingStream: false },
    }),
  );
  await writeFile(
    path.join(profile, 'basic.ini'),
    ini({
      General: { Name: 'test' },
      Video: {
        ...{ BaseCX: width, BaseCY: height, OutputCX: width, OutputCY: height },
        ...{ FPSType: 0, FPSCommon: framesPerSecond },
      },
      Audio: { SampleRate: 48_000, ChannelSetup: 'Stereo' },
      Output: { Mode: 'Simple', Reconnect: true, RetryDelay: 1, MaxRetries: 20 },
      SimpleOutput: {
        ...{ VBitrate: bitrateKbps, ABitrate: 128, StreamEncoder: 'x264' },
        ...{ UseAdvanced: true, Preset: 'ultrafast' },
      },
    }),
  );
  await writeFile(
    path.join(profile, 'service.json'),
    JSON.stringify({ type: 'rtmp_custom', settings: { server, key: streamKey, use_auth: false } }),
  );
  await writeFile(path.join(scenes, 'test.json'), JSON.stringify(sceneCollection(path.resolve(media))));
}

/** One scene with one film in its upper left corner. */
function sceneCollection(media: string): object {
  return {
    name: 'test',
    current_scene: 'Scene',
    current_program_scene: 'Scene',
    scene_order: [{ name: 'Scene' }],
    sources: [
      {
        ...{ id: 'ffmpeg_source', versioned_id: 'ffmpeg_source', name: 'Film', mixers: 255, volume: 1 },
        settings: { local_file: media, is_local_file: true, looping: true, hw_decode: false },
      },
      {
        ...{ id: 'scene', versioned_id: 'scene', name: 'Scene' },
        settings: { id_counter: 1, items: [{ id: 1, name: 'Film', visible: true }] },
      },
    ],
  };
}

function ini(sections: Record<string, Record<string, string | number | boolean>>): string {
  return Object.entries(sections)
    .map(([name, values]) =>
      [`[${name}]`, ...Object.entries(values).map(([key, value]) => `${key}=${value}`), ''].join('\n'),
    )
    .join('\n');
}
