import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  AudioChannel,
  AudioConfig,
  AudioMixing,
  AudioRoute,
  EgressStatus,
  EncodedFileOutput,
  EncodingOptions,
  FileOutput,
  MediaSource,
  Output,
  ParticipantEgressRequest,
  ParticipantInfo_Kind,
  ParticipantVideo,
  RoomCompositeEgressRequest,
  StartEgressRequest,
  TrackCompositeEgressRequest,
  VideoCodec,
  type EgressInfo,
} from '@livekit/protocol';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { RpcStartEgressRequest } from '../../services/bus/rpc-messages.ts';
import { RoomInternal } from '../../services/bus/rpc-methods.ts';
import { encodeClip, publishClip, type Clip } from '../support/clip-publisher.ts';
import { startEgressNode, type EgressNode } from '../support/egress-node.ts';
import { encodeMedia } from '../support/encoded-media.ts';
import { analyzeFlashBeep } from '../support/flash-beep.ts';
import { freshName } from '../support/fresh-name.ts';
import { ffprobe, streamOf } from '../support/ffprobe.ts';
import { LoopPublisher, type LoopTrack } from '../support/loop-publisher.ts';
import { blackSpan, readPicture, readSound } from '../support/recording-content.ts';
import { startSfuServer, type SfuServer } from '../support/sfu-server.ts';

const { EGRESS_ACTIVE, EGRESS_COMPLETE, EGRESS_FAILED, EGRESS_ABORTED } = EgressStatus;
/** The tones have an amplitude of 0.088; windows in which a clock is corrected show less. */
const AUDIBLE = 0.05;
const TONES_HZ = [440, 660, 990, 1_500];

let server: SfuServer;
let node: EgressNode;
let clip: Clip;
let vp8: LoopTrack;
let h264: LoopTrack;
let largeH264: LoopTrack;
let tones: LoopTrack[];
const people: { close(): Promise<void> }[] = [];

beforeAll(async () => {
  const seconds = 2;
  const [flashes, small, large, vp8Media, ...sounds] = await Promise.all([
    encodeClip({ width: 640, height: 360, framesPerSecond: 30, seconds: 10, bitrateKbps: 700 }),
    encodeMedia({ video: 'h264', seconds }),
    encodeMedia({ video: 'h264', seconds, size: { width: 960, height: 720 } }),
    encodeMedia({ video: 'vp8', seconds }),
    ...TONES_HZ.map((toneHz) => encodeMedia({ audio: 'opus', seconds, toneHz })),
  ]);
  clip = flashes;
  [h264, largeH264, vp8] = [present(small.video), present(large.video), present(vp8Media.video)];
  tones = sounds.map(({ audio }) => present(audio));
  server = await startSfuServer();
  node = await startEgressNode(server, { trackWaitMs: 2_000 });
}, 240_000);

afterEach(async () => {
  await node.stopAll();
  await Promise.all(people.splice(0).map((person) => person.close()));
});

afterAll(async () => {
  await node.close();
  await server.close();
});

function present<T>(value: T | undefined): T {
  if (value === undefined) {
    throw new Error('fixture is incomplete');
  }
  return value;
}

async function joinAs(
  identity: string,
  room: string,
  options: Parameters<SfuServer['joinToken']>[2] = {},
): Promise<LoopPublisher> {
  const publisher = await LoopPublisher.join(server, identity, room, options);
  people.push(publisher);
  return publisher;
}

const tone = (index: number): LoopTrack => present(tones[index]);

type Job = {
  egressId: string;
  file: string;
  /** Seconds since the job became active, which is near time 0 of the recording. */
  nowS: () => number;
  stop: () => Promise<EgressInfo>;
};

/** Starts a job and waits until it records. */
async function record(room: string, request: RpcStartEgressRequest['request'], file: string): Promise<Job> {
  const egressId = freshName('EG_media');
  await node.start(egressId, room, request);
  await node.reached(egressId, EGRESS_ACTIVE);
  const activeMs = performance.now();
  return {
    egressId,
    file: path.join(node.folder, file),
    nowS: () => (performance.now() - activeMs) / 1000,
    stop: async () => {
      await node.stop(egressId);
      return node.reached(egressId, EGRESS_COMPLETE);
    },
  };
}

function participant(room: string, identity: string, file: string, options: Partial<EncodingOptions> = {}) {
  const value = new ParticipantEgressRequest({
    ...{ roomName: room, identity },
    options: { case: 'advanced', value: new EncodingOptions(options) },
    fileOutputs: [new EncodedFileOutput({ filepath: file })],
  });
  return { case: 'participant', value } as const;
}

function audioRoom(room: string, file: string, audioMixing = AudioMixing.DEFAULT_MIXING) {
  const value = new RoomCompositeEgressRequest({
    ...{ roomName: room, audioOnly: true, audioMixing },
    fileOutputs: [new EncodedFileOutput({ filepath: file })],
  });
  return { case: 'roomComposite', value } as const;
}

/** Every picture takes exactly its share of time. */
async function expectConstantRate(file: string, framesPerSecond: number): Promise<void> {
  const text = execFileSync(
    'ffprobe',
    ['-v', 'error', '-select_streams', 'v', '-show_entries', 'packet=pts_time', '-of', 'csv=p=0', file],
    { encoding: 'utf8' },
  );
  const times = text.trim().split('\n').map(Number);
  expect(times.length).toBeGreaterThan(framesPerSecond);
  times.forEach((time, index) => {
    expect(Math.abs(time - (times[0] ?? 0) - index / framesPerSecond)).toBeLessThan(0.002);
  });
  const { streams } = await ffprobe(file);
  expect(streams.find(({ codec_type }) => codec_type === 'video')?.avg_frame_rate).toBe(
    `${framesPerSecond}/1`,
  );
}

describe('participant egress', () => {
  it('scales to the exact size and rate, in lip sync, and completes when the participant leaves', async () => {
    const room = freshName('sync');
    const token = await server.joinToken('alice', room);
    const alice = await publishClip({ wsUrl: server.wsUrl, token, clip });
    people.push(alice);
    const request = participant(room, 'alice', `${room}/{publisher_identity}.mp4`, {
      ...{ width: 854, height: 480, framerate: 25, keyFrameInterval: 2, videoBitrate: 1_500 },
      videoCodec: VideoCodec.H264_HIGH,
    });
    const job = await record(room, request, `${room}/alice.mp4`);
    await sleep(10_000);
    await alice.close();
    const leftS = job.nowS();
    const info = await node.reached(job.egressId, EGRESS_COMPLETE);
    expect(info.details).toBe('End reason: Source closed');
    const probe = await ffprobe(job.file);
    expect(streamOf(probe, 'video')).toMatchObject({
      ...{ codec_name: 'h264', profile: 'High', width: 854, height: 480, pix_fmt: 'yuv420p' },
    });
    expect(streamOf(probe, 'audio')).toMatchObject({ codec_name: 'aac', sample_rate: '44100', channels: 2 });
    await expectConstantRate(job.file, 25);
    // Somebody who comes back within moments is not taken for gone.
    const durationS = Number(probe.format.duration);
    expect(durationS).toBeGreaterThan(leftS - 0.7);
    expect(durationS).toBeLessThan(leftS + 4);
    expect(Math.abs(Number(info.fileResults[0]?.duration) / 1e9 - durationS)).toBeLessThan(0.3);
    const report = await analyzeFlashBeep(job.file);

    expect(report.flashesS.length).toBeGreaterThanOrEqual(7);
    expect(report.beepsS.length).toBeGreaterThanOrEqual(8);
    expect(Math.abs(report.medianOffsetMs)).toBeLessThanOrEqual(60);
  });

  it('goes on through late sound, unpublishing, another codec and muting', async () => {
    const room = freshName('changes');
    const bob = await joinAs('bob', room);
    const first = await bob.publish(vp8);
    const request = participant(room, 'bob', `${room}.mp4`, { width: 640, height: 360, framerate: 30 });
    const job = await record(room, request, `${room}.mp4`);
    await sleep(2_000);
    const soundS = job.nowS();
    const sound = await bob.publish(tone(0));
    await sleep(2_000);
    const unpublishedS = job.nowS();
    await first.unpublish();
    await sleep(2_500);
    const republishedS = job.nowS();
    const second = await bob.publish(h264);
    await sleep(2_500);
    const mutedS = job.nowS();
    second.setMuted(true);
    sound.setMuted(true);
    await sleep(2_500);
    const unmutedS = job.nowS();
    second.setMuted(false);
    sound.setMuted(false);
    await sleep(2_500);
    await job.stop();
    await bob.close();

    const { file } = job;
    await expectConstantRate(file, 30);
    const picture = await readPicture(file);
    const within = (fromS: number, toS: number) =>
      picture.filter(({ timeS }) => timeS >= fromS && timeS <= toS);
    const gone = blackSpan(within(unpublishedS - 1, republishedS + 2));
    expect(gone?.fromS).toBeGreaterThan(unpublishedS - 0.5);
    expect(gone?.fromS).toBeLessThan(unpublishedS + 1);
    // The recording's clock starts up to a second before the job says that it is active.
    expect(gone?.toS).toBeGreaterThan(republishedS - 1.2);
    expect(gone?.toS).toBeLessThan(republishedS + 1.2);
    const silent = blackSpan(within(mutedS - 1, unmutedS + 2));
    expect(silent?.fromS).toBeGreaterThan(mutedS - 0.5);
    expect(silent?.fromS).toBeLessThan(mutedS + 1);
    expect(silent?.toS).toBeLessThan(unmutedS + 1.2);
    for (const span of [gone, silent]) {
      const looks = within((span?.fromS ?? 0) + 0.1, (span?.toS ?? 0) - 0.1);
      expect(looks.length).toBeGreaterThan(10);
      expect(blackSpan(looks)).toEqual({ fromS: looks[0]?.timeS, toS: looks.at(-1)?.timeS });
    }
    for (const [fromS, toS] of [
      [0, unpublishedS - 0.5],
      [republishedS + 1.2, mutedS - 0.5],
      [unmutedS + 1.2, (picture.at(-1)?.timeS ?? 0) - 0.2],
    ] as const) {
      const looks = within(fromS, toS);
      expect(looks.length).toBeGreaterThan(5);
      expect(looks.every(({ contrast }) => contrast > 60)).toBe(true);
    }
    const heard = await readSound(file);
    expect(heard.level('left', 0, soundS - 0.3)).toBeLessThan(0.001);
    expect(heard.tone('left', 440, soundS + 0.7, mutedS - 0.5)).toBeGreaterThan(AUDIBLE);
    expect(heard.tone('right', 440, soundS + 0.7, mutedS - 0.5)).toBeGreaterThan(AUDIBLE);
    expect(heard.level('left', mutedS + 0.5, unmutedS - 0.3)).toBeLessThan(0.001);
    expect(heard.tone('left', 440, unmutedS + 0.7, unmutedS + 2)).toBeGreaterThan(AUDIBLE);
    expect(Math.abs(heard.durationS - (picture.at(-1)?.timeS ?? 0))).toBeLessThan(1);
  });

  it('letterboxes, and keeps its size when the publisher changes theirs', async () => {
    const room = freshName('sizes');
    const cid = await joinAs('cid', room);
    const camera = await cid.publish(h264);
    const request = participant(room, 'cid', `${room}.mp4`, { width: 1280, height: 720, framerate: 30 });
    const job = await record(room, request, `${room}.mp4`);
    await sleep(2_000);
    camera.swap(largeH264);
    await sleep(2_000);
    camera.swap(h264);
    await sleep(2_000);
    await job.stop();
    await cid.close();
    await expectConstantRate(job.file, 30);
    expect(streamOf(await ffprobe(job.file), 'video')).toMatchObject({ width: 1280, height: 720 });
    // 4:3 in 16:9: bars of 160 pixels on both sides, before and after the change.
    const crops = execFileSync(
      'ffmpeg',
      [
        ...['-v', 'error', '-i', job.file, '-vf', 'fps=2,crop=152:720:0:0,scale=8:8:flags=area,format=gray'],
        ...['-f', 'rawvideo', '-'],
      ],
      { maxBuffer: 16_000_000 },
    );
    expect(crops.length).toBeGreaterThanOrEqual(7 * 64);
    expect(Math.max(...crops)).toBeLessThan(24);
    const picture = await readPicture(job.file);
    expect(picture.filter(({ contrast }) => contrast > 60).length / picture.length).toBeGreaterThan(0.9);
  });

  it('shows the shared screen while there is one, and the camera otherwise', async () => {
    const room = freshName('screens');
    const dora = await joinAs('dora', room);
    const camera = await dora.publish(h264);
    const video = new ParticipantVideo({ identity: 'dora', preferScreenShare: true });
    const value = new StartEgressRequest({
      roomName: room,
      source: {
        case: 'media',
        value: new MediaSource({ video: { case: 'participantVideo', value: video } }),
      },
      encoding: { case: 'advanced', value: new EncodingOptions({ width: 640, height: 480, framerate: 15 }) },
      outputs: [new Output({ config: { case: 'file', value: new FileOutput({ filepath: `${room}.mp4` }) } })],
    });
    const job = await record(room, { case: 'egress', value }, `${room}.mp4`);
    await sleep(1_500);
    // The same test picture, but upside down it is not: what tells them apart is that the camera is muted meanwhile.
    const sharedS = job.nowS();
    const screen = await dora.publish(vp8, 'screen_share');
    await sleep(1_500);
    camera.setMuted(true);
    await sleep(1_500);
    const endedS = job.nowS();
    await screen.unpublish();
    await sleep(1_500);
    await job.stop();
    await dora.close();
    await expectConstantRate(job.file, 15);
    const picture = await readPicture(job.file);
    const bright = picture.filter(({ timeS }) => timeS < endedS - 0.5);
    expect(bright.length).toBeGreaterThan(30);
    expect(bright.every(({ contrast }) => contrast > 60)).toBe(true);
    expect(blackSpan(picture)?.fromS).toBeGreaterThan(sharedS + 2);
    expect(streamOf(await ffprobe(job.file), 'video').codec_name).toBe('h264');
  });

  it('is ABORTED when the participant leaves without having published anything', async () => {
    const room = freshName('nothing');
    const quiet = await joinAs('quiet', room);
    const egressId = freshName('EG_nothing');
    await node.start(egressId, room, participant(room, 'quiet', `${room}.mp4`));
    await sleep(3_000); // longer than a missing participant is waited for
    expect(node.history(egressId)).toEqual([EgressStatus.EGRESS_STARTING]);
    await quiet.close();
    const info = await node.reached(egressId, EGRESS_ABORTED);
    expect(info.error).toBe('participant quiet left without publishing anything');
    expect(info.details).toBe('End reason: Source closed');
  });

  it('FAILS with not_found when the participant never comes', async () => {
    const room = freshName('nobody');
    const egressId = freshName('EG_nobody');
    await node.start(egressId, room, participant(room, 'ghost', 'ghost.mp4'));
    const info = await node.reached(egressId, EGRESS_FAILED);
    expect(info).toMatchObject({ error: 'participant ghost not found', errorCode: 404 });
  });

  it('FAILS and keeps the file when its ffmpeg is killed', async () => {
    const room = freshName('killed');
    const eve = await joinAs('eve', room);
    await eve.publish(h264);
    await eve.publish(tone(1));
    const job = await record(room, participant(room, 'eve', `${room}.mp4`), `${room}.mp4`);
    await sleep(4_000);
    const handler = node.service.jobs().find(({ egressId }) => egressId === job.egressId)?.handlerPid ?? 0;
    const children = execFileSync('ps', ['-o', 'pid=,args=', '--ppid', String(handler)], {
      encoding: 'utf8',
    });
    const encoder = /^\s*(\d+) .*libx264/m.exec(children);
    process.kill(Number(encoder?.[1]), 'SIGKILL');
    const info = await node.reached(job.egressId, EGRESS_FAILED);
    expect(info.error).toMatch(/picture encoding: ffmpeg ended with signal SIGKILL/);
    expect(info.errorCode).toBe(500);
    const probe = await ffprobe(job.file);
    expect(Number(probe.format.duration)).toBeGreaterThan(2.5);
    expect((await readPicture(job.file)).filter(({ contrast }) => contrast > 60).length).toBeGreaterThan(15);
    await eve.close();
  });
});

describe('track composite', () => {
  it('records two named tracks, names them in the manifest and ends when both are gone', async () => {
    const room = freshName('pair');
    const fay = await joinAs('fay', room);
    const [video, audio] = [await fay.publish(vp8), await fay.publish(tone(2))];
    await fay.publish(tone(3)); // not asked for
    const value = new TrackCompositeEgressRequest({
      ...{ roomName: room, audioTrackId: audio.trackSid, videoTrackId: video.trackSid },
      options: { case: 'advanced', value: new EncodingOptions({ width: 320, height: 240, framerate: 20 }) },
      fileOutputs: [new EncodedFileOutput({ filepath: '{room_name}/{publisher_identity}.mp4' })],
    });
    const job = await record(room, { case: 'trackComposite', value }, `${room}/fay.mp4`);
    await sleep(3_000);
    await video.unpublish();
    await sleep(3_500); // one track is enough to go on
    await audio.unpublish();
    const info = await node.reached(job.egressId, EGRESS_COMPLETE);
    expect(info.details).toBe('End reason: Source closed');
    expect(JSON.parse(await readFile(info.manifestLocation, 'utf8'))).toMatchObject({
      publisher_identity: 'fay',
      audio_track_id: audio.trackSid,
      video_track_id: video.trackSid,
    });
    await expectConstantRate(job.file, 20);
    const heard = await readSound(job.file);
    expect(heard.durationS).toBeGreaterThan(6);
    expect(heard.tone('left', 990, 1, 5)).toBeGreaterThan(AUDIBLE);
    expect(heard.tone('left', 1_500, 1, 5)).toBeLessThan(0.005);
    await fay.close();
  });

  it('FAILS with not_found when one of the tracks is not there', async () => {
    const room = freshName('half');
    const egressId = freshName('EG_half');
    const gus = await joinAs('gus', room);
    const audio = await gus.publish(tone(0));
    const value = new TrackCompositeEgressRequest({
      ...{ roomName: room, audioTrackId: audio.trackSid, videoTrackId: 'TR_missing' },
      fileOutputs: [new EncodedFileOutput({ filepath: `${room}.mp4` })],
    });
    await node.start(egressId, room, { case: 'trackComposite', value });
    const info = await node.reached(egressId, EGRESS_FAILED);
    expect(info).toMatchObject({ error: 'track TR_missing not found', errorCode: 404 });
    await gus.close();
  });
});

describe('audio-only room composite', () => {
  it('mixes everybody, late joiners at their time, and ends with the room', async () => {
    const room = freshName('choir');
    const singers: LoopPublisher[] = [];
    for (const [index, name] of ['ann', 'ben', 'cem'].entries()) {
      const singer = await joinAs(name, room);
      await singer.publish(tone(index));
      singers.push(singer);
    }
    const job = await record(room, audioRoom(room, `${room}.ogg`), `${room}.ogg`);
    await sleep(2_500);
    const lateS = job.nowS();
    const late = await joinAs('dan', room);
    await late.publish(tone(3));
    const singsS = job.nowS();
    await sleep(2_500);
    const leavesS = job.nowS();
    await singers[0]?.close();
    const goneS = job.nowS();
    await sleep(2_500);
    await server.bus.request(RoomInternal.deleteRoom, { room });
    const info = await node.reached(job.egressId, EGRESS_COMPLETE);
    expect(info.details).toBe('End reason: Source closed');
    await Promise.all([...singers, late].map((singer) => singer.close()));
    const probe = await ffprobe(job.file);
    expect(probe.streams.map(({ codec_name, channels }) => [codec_name, channels])).toEqual([['opus', 2]]);
    const heard = await readSound(job.file);
    expect(Math.abs(heard.durationS - goneS - 2.5)).toBeLessThan(1.5);
    for (const channel of ['left', 'right'] as const) {
      for (const frequencyHz of [440, 660, 990]) {
        expect(heard.tone(channel, frequencyHz, 1, lateS), `${frequencyHz} Hz ${channel}`).toBeGreaterThan(
          AUDIBLE,
        );
      }
      expect(heard.tone(channel, 1_500, 0, lateS - 0.2)).toBeLessThan(0.005);
      expect(heard.tone(channel, 1_500, singsS + 0.8, leavesS)).toBeGreaterThan(AUDIBLE);
      expect(heard.tone(channel, 440, goneS + 0.5, goneS + 2)).toBeLessThan(0.005);
      expect(heard.tone(channel, 660, goneS + 0.5, goneS + 2)).toBeGreaterThan(AUDIBLE);
    }
  });

  it('deals participants out to left and right', async () => {
    const room = freshName('sides');
    const left = await joinAs('left', room);
    await left.publish(tone(0));
    const right = await joinAs('right', room);
    await right.publish(tone(1));
    const request = audioRoom(room, `${room}.ogg`, AudioMixing.DUAL_CHANNEL_ALTERNATE);
    const job = await record(room, request, `${room}.ogg`);
    await sleep(3_000);
    await job.stop();
    const heard = await readSound(job.file);
    expect(heard.tone('left', 440, 1, 2.5)).toBeGreaterThan(AUDIBLE);
    expect(heard.tone('left', 660, 1, 2.5)).toBeLessThan(0.005);
    expect(heard.tone('right', 660, 1, 2.5)).toBeGreaterThan(AUDIBLE);
    expect(heard.tone('right', 440, 1, 2.5)).toBeLessThan(0.005);
    await Promise.all([left.close(), right.close()]);
  });
});

describe('media source of the second API', () => {
  it('routes a track left, an agent right, and the rest to both', async () => {
    const room = freshName('routes');
    const host = await joinAs('host', room);
    const microphone = await host.publish(tone(0));
    const agent = await joinAs('robot', room, { kind: 'agent' });
    await agent.publish(tone(1));
    const guest = await joinAs('guest', room);
    await guest.publish(tone(2));
    const route = (match: AudioRoute['match'], channel: AudioChannel) => new AudioRoute({ match, channel });
    const audio = new AudioConfig({
      captureAll: true,
      routes: [
        route({ case: 'trackId', value: microphone.trackSid }, AudioChannel.LEFT),
        route({ case: 'participantKind', value: ParticipantInfo_Kind.AGENT }, AudioChannel.RIGHT),
      ],
    });
    const value = new StartEgressRequest({
      roomName: room,
      source: { case: 'media', value: new MediaSource({ audio }) },
      outputs: [new Output({ config: { case: 'file', value: new FileOutput({ filepath: `${room}.ogg` }) } })],
    });
    const job = await record(room, { case: 'egress', value }, `${room}.ogg`);
    await sleep(3_000);
    await job.stop();
    const heard = await readSound(job.file);
    const levels = (channel: 'left' | 'right') =>
      TONES_HZ.map((frequencyHz) => heard.tone(channel, frequencyHz, 1, 2.5) > AUDIBLE);
    expect(levels('left')).toEqual([true, false, true, false]);
    expect(levels('right')).toEqual([false, true, true, false]);
    await Promise.all([host.close(), agent.close(), guest.close()]);
  });
});
