import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { startNginxRtmp } from './nginx-rtmp.ts';

/** Debian packages of the encoders and relays that nobody here wrote. */
export const RTMP_PEER_PACKAGES = [
  ...['gstreamer1.0-tools', 'gstreamer1.0-plugins-good', 'gstreamer1.0-plugins-bad'],
  ...['curl', 'nginx', 'libnginx-mod-rtmp'],
] as const;

export type RunningPeer = {
  /** As its user would end it; resolves when it is gone. */
  stop(): Promise<void>;
  /** What it had to say. */
  output: () => string;
};

/** Publishes an FLV file at its own speed, packets as they are. */
export type RtmpPeer = (film: string, url: string) => Promise<RunningPeer>;

const STOP_TIMEOUT_MS = 5_000;
const FFMPEG_PACED = ['-hide_banner', '-nostdin', '-loglevel', 'error', '-re', '-i'];

export const RTMP_PEERS = {
  /** FFmpeg's own RTMP. */
  ffmpeg: (film, url) => Promise.resolve(ffmpegPush(film, url)),
  /** GStreamer's own RTMP, new. */
  'gst rtmp2sink': (film, url) =>
    Promise.resolve(
      startPeer(
        'gst-launch-1.0',
        [...gstFilm(film), 'rtmp2sink', `location=${url}`, ...gstTls(url)],
        'SIGINT',
      ),
    ),
  /** librtmp, as GStreamer uses it. */
  'gst rtmpsink (librtmp)': (film, url) =>
    Promise.resolve(
      startPeer('gst-launch-1.0', [...gstFilm(film), 'rtmpsink', `location=${url} live=1`], 'SIGINT'),
    ),
  /** librtmp, as curl uses it: an FLV file from its standard input. */
  'curl (librtmp)': (film, url) => {
    const reader = spawn('ffmpeg', [...FFMPEG_PACED, film, '-c', 'copy', '-f', 'flv', 'pipe:1'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const curl = startPeer(
      'curl',
      ['--silent', '--show-error', '--upload-file', '-', url],
      'SIGTERM',
      reader,
    );
    return Promise.resolve(curl);
  },
  /** nginx-rtmp relays what ffmpeg publishes to it. */
  'nginx push': async (film, url) => {
    const nginx = await startNginxRtmp({ pushTo: url });
    const publisher = ffmpegPush(film, nginx.url('relayed'));
    return {
      output: publisher.output,
      async stop() {
        await publisher.stop();
        await nginx.close();
      },
    };
  },
} satisfies Record<string, RtmpPeer>;

export type RtmpPeerName = keyof typeof RTMP_PEERS;

/** @throws Error naming the packages when a program is missing. */
export function requireRtmpPeers(): void {
  const missing = ['gst-launch-1.0', 'curl'].filter((name) => !existsSync(`/usr/bin/${name}`));
  if (missing.length > 0) {
    const packages = RTMP_PEER_PACKAGES.join(' ');
    throw new Error(
      `not installed: ${missing.join(', ')}: apt-get install -y --no-install-recommends ${packages}`,
    );
  }
}

function ffmpegPush(film: string, url: string): RunningPeer {
  return startPeer('ffmpeg', [...FFMPEG_PACED, film, '-c', 'copy', '-f', 'flv', url], 'SIGINT');
}

/**
 * A film's tracks, as they are, at their own speed, into one FLV stream. The muxer waits for all tracks, so those that are
 * there have to wait, however long, for one that begins later; the clock counts behind it.
 */
function gstFilm(film: string): string[] {
  const queue = ['queue', 'max-size-time=0', 'max-size-bytes=0', 'max-size-buffers=0'];
  const sound = ['demux.audio', '!', ...queue, '!', 'aacparse', '!', 'mux.'];
  const picture = ['demux.video', '!', ...queue, '!', 'h264parse', '!', 'mux.'];
  return [
    ...['-q', '-e', 'filesrc', `location=${film}`, '!', 'flvdemux', 'name=demux'],
    ...(film.includes('no-picture') ? [] : picture),
    ...(film.includes('no-sound') ? [] : sound),
    ...['flvmux', 'name=mux', 'streamable=true', '!', 'clocksync', '!'],
  ];
}

/** Test certificates are nobody's. */
function gstTls(url: string): string[] {
  return url.startsWith('rtmps:') ? ['tls-validation-flags=0'] : [];
}

/** @param input writes the program's standard input and is ended with it. */
export function startPeer(
  command: string,
  args: readonly string[],
  signal: 'SIGINT' | 'SIGTERM',
  input?: ChildProcess,
): RunningPeer {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => (output = (output + chunk.toString()).slice(-4000)));
  }
  child.stdin.on('error', () => undefined);
  if (input?.stdout) {
    input.stdout.pipe(child.stdin);
  }
  const ended = new Promise<void>((resolve) => {
    child.once('error', (error) => {
      output += error.message;
      resolve();
    });
    child.once('close', () => resolve());
  });
  return {
    output: () => output,
    async stop() {
      // The end of its input is how a user of a pipe ends it.
      (input ?? child).kill(signal);
      await Promise.race([ended, delay(STOP_TIMEOUT_MS, undefined, { ref: false })]);
      child.kill('SIGKILL');
      await ended;
    },
  };
}
