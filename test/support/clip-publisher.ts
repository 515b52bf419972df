import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { ALL_FORMATS, EncodedPacketSink, FilePathSource, Input, type InputTrack } from 'mediabunny';
import { flashBeepInputs, passthroughH264, type FlashBeepOptions } from '../../fixtures/flash-beep.ts';
import { createLogger } from '../../services/base/logger.ts';
import { parseAvcConfig } from '../../services/media/codecs/h264-avcc.ts';
import { joinAnnexB, splitLengthPrefixed } from '../../services/media/codecs/h264.ts';
import { connectRoom } from '../../services/rtc-client/room-client.ts';
import type { RoomClient, TrackPublisher } from '../../services/rtc-client/room-client-types.ts';

const run = promisify(execFile);
const TICK_MS = 5;

type ClipPacket = { ptsUs: number; durationUs: number; key: boolean; data: Uint8Array };

/** An encoded clip in memory: H.264 without B-frames and Opus, as RTMP ingest and browsers publish them. */
export type Clip = {
  width: number;
  height: number;
  durationUs: number;
  video: ClipPacket[];
  audio: ClipPacket[];
};

export type ClipOptions = FlashBeepOptions & {
  seconds: number;
  bitrateKbps: number;
  /** Frames from key frame to key frame; 2 s otherwise. Who comes in between waits for the next one. */
  keyFrameEvery?: number;
  /** ffmpeg input arguments that replace the flash/beep picture. */
  picture?: string[];
  /** Whether the sound beeps; otherwise it is a quiet hum. */
  beeps?: boolean;
};

/** Encodes a clip once; publishing it costs next to nothing. */
export async function encodeClip(options: ClipOptions): Promise<Clip> {
  const dir = await mkdtemp(path.join(tmpdir(), 'sluice-clip-'));
  try {
    const file = path.join(dir, 'clip.mkv');
    const both = flashBeepInputs({ ...options, realTime: false });
    const inputs = [
      ...(options.picture ?? both.slice(0, 4)),
      ...(options.beeps === false
        ? ['-f', 'lavfi', '-i', 'sine=frequency=220:sample_rate=48000,volume=0.02']
        : both.slice(4)),
    ];
    await run(process.env['FFMPEG_PATH'] ?? 'ffmpeg', [
      ...['-v', 'error', '-y', ...inputs, '-t', String(options.seconds)],
      ...passthroughH264({ framesPerSecond: options.framesPerSecond, bitrateKbps: options.bitrateKbps }),
      ...(options.keyFrameEvery === undefined ? [] : ['-g', String(options.keyFrameEvery)]),
      ...(options.keyFrameEvery === undefined ? [] : ['-keyint_min', String(options.keyFrameEvery)]),
      // Browsers take untagged pictures for BT.709; ffmpeg would convert to BT.601.
      ...['-vf', `scale=${options.width}:${options.height}:out_color_matrix=bt709:out_range=tv`],
      ...['-colorspace', 'bt709', '-color_primaries', 'bt709', '-color_trc', 'bt709', '-color_range', 'tv'],
      ...['-c:a', 'libopus', '-b:a', '64k', '-ac', '2', file],
    ]);
    const input = new Input({ source: new FilePathSource(file), formats: ALL_FORMATS });
    const { width, height, seconds } = options;
    const clip: Clip = {
      width,
      height,
      durationUs: seconds * 1e6,
      video: await videoPackets(input),
      audio: await readPackets(await input.getPrimaryAudioTrack()),
    };
    input.dispose();
    return clip;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function videoPackets(input: Input): Promise<ClipPacket[]> {
  const track = await input.getPrimaryVideoTrack();
  const description = (await track?.getDecoderConfig())?.description as Uint8Array;
  const { sps, pps, lengthSize } = parseAvcConfig(description);
  const packets = await readPackets(track);
  return packets.map((packet) => {
    const nals = splitLengthPrefixed(packet.data, lengthSize);
    return { ...packet, data: joinAnnexB(packet.key ? [...sps, ...pps, ...nals] : nals) };
  });
}

async function readPackets(track: InputTrack | null): Promise<ClipPacket[]> {
  const packets: ClipPacket[] = [];
  if (track === null) {
    throw new Error('the clip lacks a track');
  }
  for await (const packet of new EncodedPacketSink(track).packets()) {
    packets.push({
      ptsUs: Math.max(0, Math.round(packet.timestamp * 1e6)),
      durationUs: Math.round(packet.duration * 1e6),
      key: packet.type === 'key',
      data: packet.data,
    });
  }
  return packets;
}

export type PublishClipOptions = {
  wsUrl: string;
  token: string;
  clip: Clip;
  kinds?: ('video' | 'audio')[];
  source?: 'camera' | 'screen_share';
  /** Goes on with a key frame whenever one is asked for, as browsers do; otherwise they come with the clip. */
  answersKeyframeRequests?: boolean;
};

type Lane = {
  packets: ClipPacket[];
  kind: 'video' | 'audio';
  publisher: TrackPublisher;
  next: number;
  /** What was played twice is that much later than in the clip. */
  shiftUs: number;
};

/** Joins a room and publishes the clip in a loop until closed. */
export async function publishClip(
  options: PublishClipOptions,
): Promise<{ client: RoomClient; trackSids: string[]; close(): Promise<void> }> {
  const { clip, kinds = ['video', 'audio'], source = 'camera' } = options;
  const logger = createLogger({ level: 'silent' });
  const client = await connectRoom({
    url: options.wsUrl,
    token: options.token,
    autoSubscribe: false,
    logger,
  });
  const lanes: Lane[] = [];
  if (kinds.includes('video')) {
    const { width, height } = clip;
    const publisher = await client.publish({
      format: { kind: 'video', codec: 'h264', width, height },
      name: 'clip',
      source,
    });
    lanes.push({ packets: clip.video, kind: 'video', publisher, next: 0, shiftUs: 0 });
  }
  if (kinds.includes('audio')) {
    const publisher = await client.publish({
      format: { kind: 'audio', codec: 'opus', sampleRateHz: 48_000, channels: 2 },
      name: 'clip',
      source: 'microphone',
    });
    lanes.push({ packets: clip.audio, kind: 'audio', publisher, next: 0, shiftUs: 0 });
  }
  const startMs = performance.now();
  const clipTimeUs = (lane: Lane): number =>
    (lane.packets[lane.next % lane.packets.length]?.ptsUs ?? 0) +
    Math.floor(lane.next / lane.packets.length) * clip.durationUs;
  const picture = lanes.find(({ kind }) => kind === 'video');
  if (options.answersKeyframeRequests === true && picture !== undefined) {
    picture.publisher.events.on('keyframeRequested', () => {
      const dueUs = clipTimeUs(picture) + picture.shiftUs;
      while (picture.next > 0 && picture.packets[picture.next % picture.packets.length]?.key === false) {
        picture.next -= 1;
      }
      picture.shiftUs = dueUs - clipTimeUs(picture);
    });
  }
  const timer = setInterval(() => {
    const nowUs = (performance.now() - startMs) * 1000;
    for (const lane of lanes) {
      for (;;) {
        const packet = lane.packets[lane.next % lane.packets.length];
        const ptsUs = clipTimeUs(lane) + lane.shiftUs;
        if (packet === undefined || ptsUs > nowUs) {
          break;
        }
        lane.next += 1;
        lane.publisher.write({ ...packet, kind: lane.kind, ptsUs, dtsUs: ptsUs });
      }
    }
  }, TICK_MS);
  return {
    client,
    trackSids: lanes.map(({ publisher }) => publisher.trackSid),
    close: async () => {
      clearInterval(timer);
      await client.close('test over');
    },
  };
}
