import path from 'node:path';
import {
  EgressClient,
  EgressStatus,
  EncodedFileOutput,
  EncodedFileType,
  IngressClient,
  IngressInput,
  RoomServiceClient,
  DirectFileOutput,
  TrackType,
  type EgressInfo,
  type TrackInfo,
} from 'livekit-server-sdk';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BASELINE_720P, fixtureFile } from '../../fixtures/generate.ts';
import { startRtmpPlatform } from '../../services/cli/rtmp-platform.ts';
import { ffprobe, isFastStart, streamOf } from '../support/ffprobe.ts';
import { analyzeFlashBeep } from '../support/flash-beep.ts';
import { codedPictures } from '../support/nal-hashes.ts';
import { pushFile } from '../support/rtmp-push.ts';
import { API_KEY, API_SECRET, startSluiceProcess, type SluiceProcess } from '../support/sluice-process.ts';

const ROOM = 'studio';
const RECORD_MS = 20_000;

/** OBS (here: ffmpeg) → RTMP → room → MP4, with the built program and LiveKit's own server SDK. */
describe('walking skeleton', () => {
  let sluice: SluiceProcess;
  const cleanUps: (() => Promise<void>)[] = [];
  let fixture: string;
  let tracks: TrackInfo[];
  let rooms: RoomServiceClient;
  let egress: EgressClient;

  beforeAll(async () => {
    fixture = await fixtureFile(BASELINE_720P);
    sluice = await startSluiceProcess();
    cleanUps.push(() => sluice.cleanUp());
    rooms = new RoomServiceClient(sluice.apiUrl, API_KEY, API_SECRET);
    egress = new EgressClient(sluice.apiUrl, API_KEY, API_SECRET);
    const ingress = await new IngressClient(sluice.apiUrl, API_KEY, API_SECRET).createIngress(
      IngressInput.RTMP_INPUT,
      { name: 'camera', roomName: ROOM, participantIdentity: 'obs', participantName: 'OBS' },
    );
    const push = pushFile(fixture, `rtmp://127.0.0.1:${sluice.rtmpPort}/live/${ingress.streamKey}`);
    cleanUps.push(() => push.stop());
    tracks = await expect
      .poll(async () => (await rooms.listParticipants(ROOM).catch(() => []))[0]?.tracks ?? [], {
        timeout: 20_000,
      })
      .toHaveLength(2)
      .then(async () => (await rooms.listParticipants(ROOM))[0]?.tracks ?? []);
  }, 240_000);
  afterAll(async () => {
    for (const cleanUp of cleanUps.reverse()) {
      await cleanUp();
    }
  });

  const waitFor = async (egressId: string, status: EgressStatus): Promise<EgressInfo> => {
    let info: EgressInfo | undefined;
    await expect
      .poll(
        async () => {
          [info] = await egress.listEgress({ egressId });
          return info === undefined ? 'none' : `${EgressStatus[info.status]} ${info.error}`.trim();
        },
        { timeout: 60_000, interval: 200 },
      )
      .toBe(EgressStatus[status]);
    return info as EgressInfo;
  };

  it('publishes the encoder as an ingress participant with H.264 and Opus', () => {
    expect(tracks.map((track) => [track.type, track.mimeType.toLowerCase()]).sort()).toEqual([
      [TrackType.AUDIO, 'audio/opus'],
      [TrackType.VIDEO, 'video/h264'],
    ]);
    expect(tracks.find((track) => track.type === TrackType.VIDEO)).toMatchObject({
      width: 1280,
      height: 720,
    });
  });

  it('records the room and the untouched track at the same time', { timeout: 150_000 }, async () => {
    const video = tracks.find((track) => track.type === TrackType.VIDEO);
    const composite = await egress.startRoomCompositeEgress(
      ROOM,
      {
        file: new EncodedFileOutput({
          fileType: EncodedFileType.MP4,
          filepath: '{room_name}-{time}-all.mp4',
        }),
      },
      { layout: 'grid' },
    );
    const single = await egress.startTrackEgress(
      ROOM,
      new DirectFileOutput({ filepath: 'tracks/{publisher_identity}-{track_id}.mp4' }),
      video?.sid ?? '',
    );
    expect(composite.status).toBe(EgressStatus.EGRESS_STARTING);
    await Promise.all([
      waitFor(composite.egressId, EgressStatus.EGRESS_ACTIVE),
      waitFor(single.egressId, EgressStatus.EGRESS_ACTIVE),
    ]);
    // The one wait for time to pass: it is the length of the recording.
    await new Promise((resolve) => setTimeout(resolve, RECORD_MS));
    await Promise.all([egress.stopEgress(composite.egressId), egress.stopEgress(single.egressId)]);
    const [compositeEnd, singleEnd] = await Promise.all([
      waitFor(composite.egressId, EgressStatus.EGRESS_COMPLETE),
      waitFor(single.egressId, EgressStatus.EGRESS_COMPLETE),
    ]);

    await checkComposite(compositeEnd);
    await checkTrack(singleEnd);
    const participants = await rooms.listParticipants(ROOM);
    expect(participants.map((participant) => participant.identity)).toEqual(['obs']);
  });

  async function checkComposite(info: EgressInfo): Promise<void> {
    const [result] = info.fileResults;
    const file = result?.location ?? '';
    expect(path.dirname(file)).toBe(sluice.recordingsDir);
    expect(path.basename(file)).toMatch(/^studio-\d{4}-\d\d-\d\dT\d{6}-all\.mp4$/);
    const probe = await ffprobe(file);
    expect(streamOf(probe, 'video')).toMatchObject({ codec_name: 'h264', width: 1280, height: 720 });
    expect(streamOf(probe, 'audio')).toMatchObject({ codec_name: 'aac', channels: 2 });
    expect(await isFastStart(file)).toBe(true);
    expect(Number(result?.size)).toBe(Number(probe.format.size));
    const report = await analyzeFlashBeep(file);
    expect(report.durationS).toBeGreaterThan(RECORD_MS / 1000 - 3);
    expect(report.flashRatio).toBeGreaterThanOrEqual(0.95);
    expect(report.beepRatio).toBeGreaterThanOrEqual(0.95);
    expect(Math.abs(report.medianOffsetMs)).toBeLessThanOrEqual(60);
    expect(report.uniqueFps).toBeGreaterThanOrEqual(28);
    expect(report.reordered).toBe(0);
  }

  async function checkTrack(info: EgressInfo): Promise<void> {
    const file = info.fileResults[0]?.location ?? '';
    expect(path.relative(sluice.recordingsDir, file)).toMatch(/^tracks\/obs-TR_\w+\.mp4$/);
    const probe = await ffprobe(file);
    expect(probe.streams.map((stream) => stream.codec_name)).toEqual(['h264']);
    const [sent, recorded] = await Promise.all([codedPictures(fixture), codedPictures(file)]);
    expect(recorded.length).toBeGreaterThan((RECORD_MS / 1000 - 3) * 30);
    expect(recorded[0]?.key).toBe(true);
    // One unbroken run of what was sent: nothing lost, repeated, reordered or changed.
    const start = sent.findIndex((picture) => picture.hash === recorded[0]?.hash);
    expect(start).toBeGreaterThanOrEqual(0);
    const run = sent.slice(start, start + recorded.length).map((picture) => picture.hash);
    expect(recorded.map((picture) => picture.hash)).toEqual(run);
  }

  it('takes the same stream pushed on by node-media-server, an RTMP client nobody here wrote', async () => {
    const ingress = await new IngressClient(sluice.apiUrl, API_KEY, API_SECRET).createIngress(
      IngressInput.RTMP_INPUT,
      { name: 'platform', roomName: 'relayed', participantIdentity: 'platform' },
    );
    const platform = await startRtmpPlatform({
      program: path.resolve(import.meta.dirname, '..', '..', 'dist', 'main.js'),
      pushUrl: `rtmp://127.0.0.1:${sluice.rtmpPort}/live/${ingress.streamKey}`,
    });
    const relay = pushFile(fixture, platform.publishUrl);
    try {
      await expect
        .poll(async () => (await rooms.listParticipants('relayed').catch(() => []))[0]?.tracks.length, {
          timeout: 20_000,
        })
        .toBe(2);
    } finally {
      await relay.stop();
      await platform.close();
    }
    await expect
      .poll(async () => (await rooms.listParticipants('relayed').catch(() => [])).length, { timeout: 20_000 })
      .toBe(0);
  });
});
