import { createSocket } from 'node:dgram';
import { existsSync } from 'node:fs';
import { startPeer, type RunningPeer } from './rtmp-peers.ts';

/** Debian packages of the SRT callers that nobody here wrote. */
export const SRT_PEER_PACKAGES = [
  ...['srt-tools', 'gstreamer1.0-tools', 'gstreamer1.0-plugins-good', 'gstreamer1.0-plugins-bad'],
] as const;

/** Publishes an FLV file (H.264, AAC) at its own speed, as MPEG-TS, packets as they are. */
export type SrtPeer = (film: string, address: { port: number; streamId: string }) => Promise<RunningPeer>;

const PACED = ['-hide_banner', '-nostdin', '-loglevel', 'error', '-re', '-i'];
/** Seven packets of MPEG-TS, as everybody sends them. */
const PAYLOAD_BYTES = 1316;

export const SRT_PEERS = {
  /** FFmpeg's own options for libsrt. */
  ffmpeg: (film, { port, streamId }) =>
    Promise.resolve(
      startPeer(
        'ffmpeg',
        [
          ...[...PACED, film, '-c', 'copy', '-f', 'mpegts', '-pkt_size', String(PAYLOAD_BYTES)],
          ...['-srt_streamid', streamId, '-latency', '200000', `srt://127.0.0.1:${port}?mode=caller`],
        ],
        'SIGINT',
      ),
    ),
  /** Relays MPEG-TS that it gets by UDP. */
  'srt-live-transmit': async (film, { port, streamId }) => {
    const udpPort = await freeUdpPort();
    const relay = startPeer(
      'srt-live-transmit',
      ['-q', `udp://127.0.0.1:${udpPort}`, `srt://127.0.0.1:${port}?streamid=${streamId}`],
      'SIGINT',
    );
    const source = startPeer(
      'ffmpeg',
      [
        ...[...PACED, film, '-c', 'copy', '-f', 'mpegts'],
        `udp://127.0.0.1:${udpPort}?pkt_size=${PAYLOAD_BYTES}`,
      ],
      'SIGINT',
    );
    return {
      output: () => relay.output() + source.output(),
      async stop() {
        await relay.stop();
        await source.stop();
      },
    };
  },
  /** GStreamer's muxer and libsrt. */
  'gst srtsink': (film, { port, streamId }) =>
    Promise.resolve(
      startPeer(
        'gst-launch-1.0',
        [
          ...['-q', '-e', 'filesrc', `location=${film}`, '!', 'flvdemux', 'name=demux'],
          ...['demux.video', '!', 'queue', '!', 'h264parse', 'config-interval=-1', '!', 'mux.'],
          ...['demux.audio', '!', 'queue', '!', 'aacparse', '!', 'mux.'],
          ...['mpegtsmux', 'name=mux', 'alignment=7', '!', 'clocksync', '!'],
          ...['srtsink', `uri=srt://127.0.0.1:${port}`, 'mode=caller', `streamid="${streamId}"`],
        ],
        'SIGINT',
      ),
    ),
} satisfies Record<string, SrtPeer>;

export type SrtPeerName = keyof typeof SRT_PEERS;

/** @throws Error naming the packages when a program is missing. */
export function requireSrtPeers(): void {
  const missing = ['srt-live-transmit', 'gst-launch-1.0'].filter((name) => !existsSync(`/usr/bin/${name}`));
  if (missing.length > 0) {
    throw new Error(
      `not installed: ${missing.join(', ')}: apt-get install -y --no-install-recommends ${SRT_PEER_PACKAGES.join(' ')}`,
    );
  }
}

/** Nothing tells srt-live-transmit's own choice. */
async function freeUdpPort(): Promise<number> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', () => resolve()));
  const { port } = socket.address();
  await new Promise<void>((resolve) => socket.close(() => resolve()));
  return port;
}
