import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import {
  EncodedAudioPacketSource,
  EncodedPacket as MuxPacket,
  EncodedVideoPacketSource,
  FilePathTarget,
  MkvOutputFormat,
  Output,
} from 'mediabunny';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from '../../services/base/logger.ts';
import type { EncodedPacket } from '../../services/model/packet.ts';
import { connectRoom } from '../../services/rtc-client/room-client.ts';
import type {
  RemoteTrack,
  RoomClient,
  RoomClientEvents,
  TrackPublisher,
} from '../../services/rtc-client/room-client-types.ts';
import { encodeMedia, type EncodedMedia } from '../support/encoded-media.ts';
import { eventually } from '../support/livekit-page.ts';
import { RtcNodePeer } from '../support/rtc-node-peer.ts';
import { startSfuServer, type SfuServer } from '../support/sfu-server.ts';
import { startSignalTunnel } from '../support/signal-tunnel.ts';

const run = promisify(execFile);
const logger = createLogger({ level: (process.env['TEST_LOG'] as 'info' | undefined) ?? 'silent' });

let server: SfuServer;
let h264: EncodedMedia;
let vp8: EncodedMedia;
const clients: RoomClient[] = [];
const peers: RtcNodePeer[] = [];

beforeAll(async () => {
  h264 = await encodeMedia({ video: 'h264', audio: 'opus', seconds: 3, keyIntervalS: 1 });
  vp8 = await encodeMedia({ video: 'vp8', seconds: 2, keyIntervalS: 1 });
});
afterAll(() => RtcNodePeer.dispose());
beforeEach(async () => {
  server = await startSfuServer({ logger });
});
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close('test over')));
  await Promise.all(peers.splice(0).map((peer) => peer.close()));
  await server.close();
});

async function join(
  identity: string,
  options: { autoSubscribe?: boolean; url?: string } = {},
): Promise<RoomClient> {
  const client = await connectRoom({
    url: options.url ?? server.wsUrl,
    token: await server.joinToken(identity, 'room'),
    autoSubscribe: options.autoSubscribe ?? false,
    logger,
  });
  clients.push(client);
  return client;
}

function publishVideo(client: RoomClient, media: EncodedMedia): Promise<TrackPublisher> {
  return client.publish({ format: need(media.video).format, name: 'camera', source: 'camera' });
}

function publishAudio(client: RoomClient, media: EncodedMedia): Promise<TrackPublisher> {
  return client.publish({ format: need(media.audio).format, name: 'mic', source: 'microphone' });
}

function need<T>(value: T | undefined): T {
  if (value === undefined) {
    throw new Error('missing');
  }
  return value;
}

/** Writes packets when they are due, as a live source does. */
async function play(
  packets: readonly EncodedPacket[],
  write: (packet: EncodedPacket) => void,
): Promise<void> {
  const startUs = performance.now() * 1000;
  for (const packet of packets.toSorted((a, b) => a.ptsUs - b.ptsUs)) {
    const waitMs = (startUs + packet.ptsUs - performance.now() * 1000) / 1000;
    if (waitMs > 1) {
      await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
    write(packet);
  }
}

async function record(
  client: RoomClient,
  trackSid: string,
): Promise<{ packets: EncodedPacket[]; lost: number }> {
  const recording = { packets: [] as EncodedPacket[], lost: 0 };
  const subscription = await client.subscribe(trackSid);
  subscription.events.on('packet', (packet) => recording.packets.push(packet));
  subscription.events.on('lost', ({ packets }) => {
    recording.lost += packets;
  });
  return recording;
}

function once<Name extends keyof RoomClientEvents>(
  client: RoomClient,
  name: Name,
): Promise<RoomClientEvents[Name]> {
  return new Promise((resolve) => client.events.once(name, resolve));
}

function remoteTracks(client: RoomClient, count: number): Promise<RemoteTrack[]> {
  return eventually(
    `${count} tracks`,
    () => client.tracks(),
    (tracks) => tracks.length === count,
  );
}

function bytes(packets: readonly EncodedPacket[]): string[] {
  return packets.map(({ data }) => Buffer.from(data).toString('base64'));
}

describe('two room clients', () => {
  it('H.264 and Opus arrive byte for byte, in time with each other', async () => {
    const sender = await join('sender');
    const receiver = await join('receiver');
    const video = await publishVideo(sender, h264);
    const audio = await publishAudio(sender, h264);
    await remoteTracks(receiver, 2);
    const seen = await record(receiver, video.trackSid);
    const heard = await record(receiver, audio.trackSid);
    const sent = [...need(h264.video).packets, ...need(h264.audio).packets];
    await play(sent, (packet) => (packet.kind === 'video' ? video : audio).write(packet));
    await eventually(
      'everything',
      () => seen.packets.length + heard.packets.length,
      (count) => count === sent.length,
    );
    expect(bytes(seen.packets)).toEqual(bytes(need(h264.video).packets));
    expect(bytes(heard.packets)).toEqual(bytes(need(h264.audio).packets));
    expect(seen.packets.map(({ key }) => key)).toEqual(need(h264.video).packets.map(({ key }) => key));
    expect(seen.lost + heard.lost).toBe(0);

    const shift = (received: EncodedPacket[], original: EncodedPacket[]): number =>
      need(received.at(-1)).ptsUs - need(original.at(-1)).ptsUs;
    const offsetUs =
      shift(seen.packets, need(h264.video).packets) - shift(heard.packets, need(h264.audio).packets);
    expect(Math.abs(offsetUs)).toBeLessThan(20_000);
    for (const { packets } of [seen, heard]) {
      const steps = packets.slice(1).map((packet, index) => packet.ptsUs - need(packets[index]).ptsUs);
      expect(Math.min(...steps)).toBeGreaterThan(0);
    }
  });

  it('VP8 arrives byte for byte, its size is read from the frames', async () => {
    const sender = await join('sender');
    const receiver = await join('receiver', { autoSubscribe: true });
    const video = await publishVideo(sender, vp8);
    await remoteTracks(receiver, 1);
    const subscription = await receiver.subscribe(video.trackSid);
    const packets: EncodedPacket[] = [];
    const format = new Promise((resolve) => subscription.events.once('format', resolve));
    subscription.events.on('packet', (packet) => packets.push(packet));
    await play(need(vp8.video).packets, (packet) => video.write(packet));
    expect(await format).toEqual({ kind: 'video', codec: 'vp8', width: 320, height: 240 });
    await eventually(
      'all frames',
      () => packets.length,
      (count) => count === need(vp8.video).packets.length,
    );
    expect(bytes(packets)).toEqual(bytes(need(vp8.video).packets));
  });

  it('tells about participants, tracks, mute, metadata, data and the end', async () => {
    const watcher = await join('watcher');
    const joined = once(watcher, 'participantJoined');
    const sender = await join('sender');
    expect(await joined).toMatchObject({ identity: 'sender', sid: sender.participantSid, kind: 'standard' });
    expect(sender.participants().map(({ identity }) => identity)).toEqual(['watcher']);

    const published = once(watcher, 'trackPublished');
    const video = await publishVideo(sender, h264);
    expect(await published).toMatchObject({
      trackSid: video.trackSid,
      kind: 'video',
      codec: 'h264',
      source: 'camera',
      name: 'camera',
      width: 320,
      height: 240,
      muted: false,
      participantIdentity: 'sender',
    });
    // A new subscriber needs a key frame, and the publisher is told.
    const keyframe = new Promise((resolve) => video.events.once('keyframeRequested', resolve));
    const subscription = await watcher.subscribe(video.trackSid);
    const subscriptionEnded = new Promise((resolve) => subscription.events.once('ended', resolve));
    await keyframe;

    const muted = once(watcher, 'trackMuted');
    video.setMuted(true);
    expect(await muted).toMatchObject({ muted: true, track: { trackSid: video.trackSid } });

    const unpublished = once(watcher, 'trackUnpublished');
    await video.unpublish();
    expect((await unpublished).trackSid).toBe(video.trackSid);
    expect(await subscriptionEnded).toEqual({ cause: 'the track was unpublished' });
    expect(watcher.tracks()).toEqual([]);

    const left = once(watcher, 'participantLeft');
    await sender.close('test');
    expect((await left).identity).toBe('sender');
    const disconnected = once(watcher, 'disconnected');
    await server.sfu.close('shutdown');
    expect((await disconnected).reason).toMatch(/SERVER_SHUTDOWN|ROOM_DELETED|ROOM_CLOSED/);
  });

  it('names what is wrong with a token, a track and a server', async () => {
    const attempt = { url: server.wsUrl, autoSubscribe: false, logger };
    await expect(connectRoom({ ...attempt, token: 'nonsense' })).rejects.toMatchObject({
      code: 'unauthenticated',
      message: expect.stringContaining('token') as string,
    });
    await expect(connectRoom({ ...attempt, url: 'http://127.0.0.1:9', token: 'x' })).rejects.toMatchObject({
      code: 'unavailable',
    });
    await expect(connectRoom({ ...attempt, token: 'x', signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'canceled',
    });
    const client = await join('someone');
    await expect(client.subscribe('TR_nothing')).rejects.toMatchObject({ code: 'not_found' });
    await expect(
      client.publish({
        format: { kind: 'audio', codec: 'aac', sampleRateHz: 48_000, channels: 2 },
        name: '',
        source: 'microphone',
      }),
    ).rejects.toMatchObject({ code: 'unimplemented' });
  });
});

describe('@livekit/rtc-node', () => {
  it('decodes the H.264 and Opus we publish', async () => {
    const viewer = await RtcNodePeer.connect(server.wsUrl, await server.joinToken('viewer', 'room'));
    peers.push(viewer);
    const sender = await join('sender');
    const video = await publishVideo(sender, h264);
    const audio = await publishAudio(sender, h264);
    // Twice, as one stream: the viewer may take its time to subscribe.
    const clip = [...need(h264.video).packets, ...need(h264.audio).packets];
    const again = clip.map((packet) => ({ ...packet, ptsUs: packet.ptsUs + 3_020_000 }));
    await play([...clip, ...again], (packet) => (packet.kind === 'video' ? video : audio).write(packet));
    const seen = await eventually(
      'decoded frames',
      () => viewer.videos.get(video.trackSid),
      (received) => (received?.frames ?? 0) >= 45,
    );
    expect(seen).toMatchObject({ width: 320, height: 240 });
    // ffmpeg's test picture is neither black nor flat; its mean luma is known.
    expect(Math.min(...need(seen).luma)).toBeGreaterThan(90);
    const heard = await eventually(
      'sound',
      () => viewer.audios.get(audio.trackSid),
      (received) => (received?.samples ?? 0) > 48_000,
    );
    expect(need(heard).peak).toBeGreaterThan(1_000);
  });

  it('is recorded: ffmpeg decodes picture and tone from what we receive', async () => {
    const publisher = await RtcNodePeer.connect(server.wsUrl, await server.joinToken('node', 'room'));
    peers.push(publisher);
    const recorder = await join('recorder');
    const [videoSid, audioSid] = [await publisher.publishVideo(320, 240), await publisher.publishTone()];
    await remoteTracks(recorder, 2);
    const video = await record(recorder, videoSid);
    const audio = await record(recorder, audioSid);
    await eventually(
      'two seconds of both',
      () => [video.packets.length, audio.packets.length],
      ([frames = 0, sounds = 0]) => frames >= 30 && sounds >= 100,
    );
    expect(need(video.packets[0]).key).toBe(true);
    const dir = await mkdtemp(path.join(tmpdir(), 'sluice-rtc-client-'));
    try {
      const file = path.join(dir, 'recording.mkv');
      await mux(file, video.packets, audio.packets);
      const luma = await lumaOfFrames(file);
      expect(luma.length).toBeGreaterThanOrEqual(30);
      expect(Math.max(...luma) - Math.min(...luma)).toBeGreaterThan(30);
      expect(await meanVolumeDb(file)).toBeGreaterThan(-25);
    } finally {
      await rm(dir, { recursive: true });
    }
    const data = once(recorder, 'data');
    await publisher.sendData('hello', { reliable: true, topic: 'chat' });
    expect(Buffer.from((await data).payload).toString()).toBe('hello');
  });
});

describe('a broken connection', () => {
  it('is resumed without losing a packet when only signalling breaks', async () => {
    const tunnel = await startSignalTunnel(new URL(server.wsUrl).port);
    try {
      const sender = await join('sender', { url: tunnel.url });
      const receiver = await join('receiver', { url: tunnel.url });
      const audio = await publishAudio(sender, h264);
      await remoteTracks(receiver, 1);
      const heard = await record(receiver, audio.trackSid);
      const sid = receiver.participantSid;
      const resumed = Promise.all([once(sender, 'reconnected'), once(receiver, 'reconnected')]);
      const sent = need(h264.audio).packets;
      const playing = play(sent, (packet) => audio.write(packet));
      await eventually(
        'some sound',
        () => heard.packets.length,
        (count) => count > 20,
      );
      tunnel.cut();
      expect(await resumed).toEqual([{ resumed: true }, { resumed: true }]);
      await playing;
      await eventually(
        'every packet',
        () => heard.packets.length,
        (count) => count === sent.length,
      );
      expect(bytes(heard.packets)).toEqual(bytes(sent));
      expect(receiver.participantSid).toBe(sid);
      // The new signalling works: a further track is published and received.
      const video = await publishVideo(sender, h264);
      await remoteTracks(receiver, 2);
      const seen = await record(receiver, video.trackSid);
      await play(need(h264.video).packets.slice(0, 30), (packet) => video.write(packet));
      await eventually(
        'video after the resume',
        () => seen.packets.length,
        (count) => count === 30,
      );
    } finally {
      await tunnel.close();
    }
  });

  it('starts over with everything published again when the server has forgotten the session', async () => {
    const tunnel = await startSignalTunnel(new URL(server.wsUrl).port);
    try {
      const sender = await join('sender', { url: tunnel.url });
      const watcher = await join('watcher');
      const video = await publishVideo(sender, h264);
      await remoteTracks(watcher, 1);
      const before = { participant: sender.participantSid, track: video.trackSid };
      tunnel.block();
      const gone = once(watcher, 'participantLeft');
      // A second client with the identity takes the session over, so that a resume is refused.
      const twin = await join('sender');
      await gone;
      await twin.close('was only there to take over');
      const restarted = once(sender, 'reconnected');
      tunnel.unblock();
      expect(await restarted).toEqual({ resumed: false });
      expect(sender.participantSid).not.toBe(before.participant);
      expect(video.trackSid).not.toBe(before.track);
      const tracks = await eventually(
        'the track again',
        () => watcher.tracks(),
        ([track]) => track?.trackSid === video.trackSid,
      );
      expect(tracks).toHaveLength(1);
      const seen = await record(watcher, video.trackSid);
      await play(need(h264.video).packets.slice(0, 30), (packet) => video.write(packet));
      await eventually(
        'video after the restart',
        () => seen.packets.length,
        (count) => count === 30,
      );
    } finally {
      await tunnel.close();
    }
  });
});

async function mux(
  file: string,
  video: readonly EncodedPacket[],
  audio: readonly EncodedPacket[],
): Promise<void> {
  const output = new Output({ format: new MkvOutputFormat(), target: new FilePathTarget(file) });
  const pictures = new EncodedVideoPacketSource('vp8');
  const sounds = new EncodedAudioPacketSource('opus');
  output.addVideoTrack(pictures);
  output.addAudioTrack(sounds);
  await output.start();
  const startUs = Math.min(need(video[0]).ptsUs, need(audio[0]).ptsUs);
  for (const packet of [...video, ...audio].toSorted((a, b) => a.ptsUs - b.ptsUs)) {
    const muxed = new MuxPacket(
      packet.data,
      packet.key ? 'key' : 'delta',
      (packet.ptsUs - startUs) / 1e6,
      packet.durationUs / 1e6,
    );
    if (packet.kind === 'video') {
      const decoderConfig = { codec: 'vp8', codedWidth: 320, codedHeight: 240 };
      await pictures.add(muxed, { decoderConfig });
    } else {
      const decoderConfig = { codec: 'opus', sampleRate: 48_000, numberOfChannels: 2 };
      await sounds.add(muxed, { decoderConfig });
    }
  }
  await output.finalize();
}

async function lumaOfFrames(file: string): Promise<number[]> {
  const { stdout } = await run(
    'ffmpeg',
    [
      '-v',
      'error',
      '-i',
      file,
      '-vf',
      'scale=1:1:flags=area,format=gray',
      '-fps_mode',
      'passthrough',
      '-f',
      'rawvideo',
      '-',
    ],
    { encoding: 'buffer' },
  );
  return [...stdout];
}

async function meanVolumeDb(file: string): Promise<number> {
  const { stderr } = await run('ffmpeg', ['-i', file, '-vn', '-af', 'volumedetect', '-f', 'null', '-']);
  return Number(/mean_volume: (-?[\d.]+) dB/.exec(stderr)?.[1]);
}
