import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  ALL_FORMATS,
  EncodedPacketSink,
  FilePathSource,
  Input,
  type InputAudioTrack,
  type InputVideoTrack,
} from 'mediabunny';
import { amfObject, encodeAmf0 } from '../../services/protocol/amf0.ts';
import { RTMP_MESSAGE } from '../../services/protocol/rtmp-message.ts';
import type { RtmpClient } from './rtmp-client.ts';

type MediaTrack = InputVideoTrack | InputAudioTrack;

const FFMPEG = process.env['FFMPEG_PATH'] ?? 'ffmpeg';

export type EnhancedVideo = 'avc1' | 'hvc1' | 'vp08' | 'vp09' | 'av01';
export type EnhancedAudio = 'mp4a' | 'Opus';
export type EnhancedOptions = {
  modEx?: boolean;
  multitrack?: 'one' | 'many' | 'manyCodecs';
  trackId?: number;
  /** Colours are told in a message of their own, before the first picture and once a second. */
  metadata?: boolean;
};
export type TimedMessage = { typeId: number; timestampMs: number; payload: Buffer };

const VIDEO_ENCODERS: Readonly<Record<EnhancedVideo, readonly string[]>> = {
  avc1: ['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency'],
  hvc1: [
    '-c:v',
    'libx265',
    '-preset',
    'ultrafast',
    '-x265-params',
    'log-level=error:bframes=2',
    '-tag:v',
    'hvc1',
  ],
  vp08: ['-c:v', 'libvpx', '-deadline', 'realtime', '-cpu-used', '8', '-b:v', '600k'],
  vp09: ['-c:v', 'libvpx-vp9', '-deadline', 'realtime', '-cpu-used', '8', '-b:v', '600k'],
  av01: ['-c:v', 'libaom-av1', '-usage', 'realtime', '-cpu-used', '8', '-lag-in-frames', '0', '-b:v', '1M'],
};
const AUDIO_ENCODERS: Readonly<Record<EnhancedAudio, readonly string[]>> = {
  mp4a: ['-c:a', 'aac', '-ac', '2'],
  Opus: ['-c:a', 'libopus', '-ac', '2', '-b:a', '96k'],
};

/** ffmpeg's packets of a source (input arguments) as the messages of an encoder that speaks Enhanced RTMP. */
export async function enhancedMessages(options: {
  source: readonly string[];
  video?: EnhancedVideo;
  audio?: EnhancedAudio;
  fps: number;
  form?: EnhancedOptions;
  /** Output arguments behind the usual ones for the video codec. */
  encoder?: readonly string[];
}): Promise<TimedMessage[]> {
  const folder = mkdtempSync(path.join(tmpdir(), 'sluice-ertmp-'));
  const { source, video, audio, fps, form = {}, encoder = [] } = options;
  const webm = video === 'vp08' || video === 'vp09' || video === undefined;
  const file = path.join(folder, webm ? 'media.mkv' : 'media.mp4');
  try {
    const encoders = [
      ...(video === undefined
        ? ['-vn']
        : [...VIDEO_ENCODERS[video], '-g', String(fps), '-pix_fmt', 'yuv420p', ...encoder]),
      ...(audio === undefined ? ['-an'] : AUDIO_ENCODERS[audio]),
    ];
    execFileSync(FFMPEG, ['-v', 'error', '-y', ...source, ...encoders, file], {
      stdio: ['ignore', 'ignore', 'ignore'],
    });
    const input = new Input({ source: new FilePathSource(file), formats: ALL_FORMATS });
    const messages = [
      ...(video === undefined
        ? []
        : await videoMessages(await input.getPrimaryVideoTrack(), video, fps, form)),
      ...(audio === undefined ? [] : await audioMessages(await input.getPrimaryAudioTrack(), audio, form)),
    ];
    input.dispose();
    return messages.sort((a, b) => a.timestampMs - b.timestampMs);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Sends the messages at their own pace, or so many times faster, behind a publish that was accepted. */
export async function sendPaced(
  client: RtmpClient,
  messages: readonly TimedMessage[],
  speed = 1,
): Promise<void> {
  const startMs = performance.now();
  for (const message of messages) {
    const waitMs = startMs + message.timestampMs / speed - performance.now();
    if (waitMs > 0) {
      await delay(waitMs);
    }
    client.send(message, message.typeId === RTMP_MESSAGE.audio ? 4 : 6);
  }
}

async function videoMessages(
  track: MediaTrack | null,
  fourCc: EnhancedVideo,
  fps: number,
  form: EnhancedOptions,
): Promise<TimedMessage[]> {
  const packets = await packetsOf(track);
  const config = await descriptionOf(track);
  const stepMs = 1000 / fps;
  const reordered = fourCc === 'avc1' || fourCc === 'hvc1';
  const message = (
    timestampMs: number,
    frameType: number,
    packetType: number,
    data: Buffer,
  ): TimedMessage => ({
    typeId: RTMP_MESSAGE.video,
    timestampMs: Math.round(timestampMs),
    payload: enhancedBody({ kind: 'video', head: frameType << 4, fourCc, packetType, data, form }),
  });
  const metadata = (timestampMs: number): TimedMessage[] =>
    form.metadata === true ? [message(timestampMs, 1, 4, encodeAmf0(['colorInfo', amfObject({})]))] : [];
  return [
    ...(config === undefined ? [] : [message(0, 1, 0, config)]),
    ...packets.flatMap(({ key, ptsMs, data }, index) => {
      const dtsMs = index * stepMs;
      const before = key ? metadata(dtsMs) : [];
      const compositionMs = Math.round(ptsMs - dtsMs);
      if (!reordered || compositionMs === 0) {
        return [...before, message(dtsMs, key ? 1 : 2, reordered ? 3 : 1, data)];
      }
      const offset = Buffer.alloc(3);
      offset.writeIntBE(compositionMs, 0, 3);
      return [...before, message(dtsMs, key ? 1 : 2, 1, Buffer.concat([offset, data]))];
    }),
  ];
}

async function audioMessages(
  track: MediaTrack | null,
  fourCc: EnhancedAudio,
  form: EnhancedOptions,
): Promise<TimedMessage[]> {
  const packets = await packetsOf(track);
  const config = fourCc === 'Opus' ? opusHead() : await descriptionOf(track);
  const message = (timestampMs: number, packetType: number, data: Buffer): TimedMessage => ({
    typeId: RTMP_MESSAGE.audio,
    timestampMs: Math.round(timestampMs),
    payload: enhancedBody({ kind: 'audio', head: 0x90, fourCc, packetType, data, form }),
  });
  return [
    ...(config === undefined ? [] : [message(0, 0, config)]),
    ...packets.map(({ ptsMs, data }) => message(Math.max(0, ptsMs), 1, data)),
  ];
}

/** One message body: modifiers, multitrack header, four characters, data. */
export function enhancedBody(options: {
  kind: 'video' | 'audio';
  /** Upper half of the first byte: frame type or 0x90. */
  head: number;
  fourCc: string;
  packetType: number;
  data: Buffer;
  form?: EnhancedOptions;
}): Buffer {
  const { kind, head, fourCc, packetType, data, form = {} } = options;
  const enhancedFlag = kind === 'video' ? 0x80 : 0;
  const multitrackType = kind === 'video' ? 6 : 5;
  const code = Buffer.from(fourCc, 'latin1');
  const outer = form.multitrack === undefined ? packetType : multitrackType;
  // Nanoseconds (type 0) in three bytes, then a modifier of the long form that nobody knows.
  const modifiers = Buffer.concat([
    Buffer.from([2, 0, 1, 2, 7]),
    Buffer.from([255, 1, 43]),
    Buffer.alloc(300, 9),
    Buffer.from([0xf0 | outer]),
  ]);
  const first = Buffer.from([enhancedFlag | head | (form.modEx === true ? 7 : outer)]);
  const start = form.modEx === true ? [first, modifiers] : [first];
  if (form.multitrack === undefined) {
    return Buffer.concat([...start, code, data]);
  }
  const id = form.trackId ?? 0;
  const sized = (trackId: number, bytes: Buffer): Buffer[] => {
    const length = Buffer.alloc(3);
    length.writeUIntBE(bytes.length, 0, 3);
    return [Buffer.from([trackId]), length, bytes];
  };
  switch (form.multitrack) {
    case 'one':
      return Buffer.concat([...start, Buffer.from([packetType]), code, Buffer.from([id]), data]);
    case 'many':
      return Buffer.concat([
        ...[...start, Buffer.from([0x10 | packetType]), code],
        ...[...sized(id, data), ...sized(id + 1, Buffer.from('other'))],
      ]);
    case 'manyCodecs':
      return Buffer.concat([
        ...[...start, Buffer.from([0x20 | packetType]), code, ...sized(id, data)],
        ...[Buffer.from('xyz9'), ...sized(id + 1, Buffer.from('other'))],
      ]);
  }
}

/** Stereo, as ffmpeg encodes it (RFC 7845 section 5.1). */
export function opusHead(channels = 2): Buffer {
  const head = Buffer.alloc(19);
  head.write('OpusHead', 'latin1');
  head[8] = 1;
  head[9] = channels;
  head.writeUInt16LE(312, 10);
  head.writeUInt32LE(48_000, 12);
  return head;
}

type Packet = { key: boolean; ptsMs: number; data: Buffer };

/** In decoding order. */
async function packetsOf(track: MediaTrack | null): Promise<Packet[]> {
  if (track === null) {
    throw new Error('ffmpeg wrote no such track');
  }
  const packets: Packet[] = [];
  for await (const packet of new EncodedPacketSink(track).packets()) {
    packets.push({
      key: packet.type === 'key',
      ptsMs: packet.timestamp * 1000,
      data: Buffer.from(packet.data),
    });
  }
  return packets;
}

async function descriptionOf(track: MediaTrack | null): Promise<Buffer | undefined> {
  const description = (await track?.getDecoderConfig())?.description as Uint8Array | undefined;
  return description === undefined ? undefined : Buffer.from(description);
}
