import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  DirectFileOutput,
  EgressStatus,
  EncodedFileOutput,
  EncodedFileType,
  IngressInput,
  TrackType,
  type EgressInfo,
} from 'livekit-server-sdk';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startRtmpPlatform } from '../../services/cli/rtmp-platform.ts';
import { expectCaptured } from '../support/captured-report.ts';
import { ffprobe, isFastStart, streamOf } from '../support/ffprobe.ts';
import { analyzeFlashBeep } from '../support/flash-beep.ts';
import { freshName } from '../support/fresh-name.ts';
import { watchMachine } from '../support/machine-load.ts';
import { codedPictures } from '../support/nal-hashes.ts';
import { ROOM, startPublishedRoom, type PublishedRoom } from '../support/published-room.ts';
import { pushFile } from '../support/rtmp-push.ts';

const RECORD_MS = 20_000;
const { EGRESS_ACTIVE, EGRESS_COMPLETE, EGRESS_STARTING } = EgressStatus;

/** OBS (here: ffmpeg) → RTMP → room → MP4, with the built program and LiveKit's own server SDK. */
describe('walking skeleton', () => {
  let studio: PublishedRoom | undefined;
  const use = (): PublishedRoom => studio ?? expect.fail('the room did not start');
  beforeAll(async () => {
    studio = await startPublishedRoom();
  }, 240_000);
  afterEach(() => studio?.stopJobs());
  afterAll(() => studio?.close());

  it('publishes the encoder as an ingress participant with H.264 and Opus', () => {
    const { tracks } = use();
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
    const { egress, reach, rooms, videoSid } = use();
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
      videoSid,
    );
    expect(composite.status).toBe(EGRESS_STARTING);
    await Promise.all([reach(composite.egressId, EGRESS_ACTIVE), reach(single.egressId, EGRESS_ACTIVE)]);
    // The one wait for time to pass: it is the length of the recording.
    const load = watchMachine();
    await delay(RECORD_MS);
    const wasBusy = load();
    await Promise.all([egress.stopEgress(composite.egressId), egress.stopEgress(single.egressId)]);
    const [compositeEnd, singleEnd] = await Promise.all([
      reach(composite.egressId, EGRESS_COMPLETE),
      reach(single.egressId, EGRESS_COMPLETE),
    ]);

    await checkComposite(compositeEnd, wasBusy);
    await checkTrack(singleEnd);
    const participants = await rooms.listParticipants(ROOM);
    expect(participants.map((participant) => participant.identity)).toEqual(['obs']);
  });

  async function checkComposite(info: EgressInfo, wasBusy: boolean): Promise<void> {
    const [result] = info.fileResults;
    const file = result?.location ?? '';
    expect(path.dirname(file)).toBe(use().sluice.recordingsDir);
    expect(path.basename(file)).toMatch(/^studio-\d{4}-\d\d-\d\dT\d{6}-all\.mp4$/);
    const probe = await ffprobe(file);
    expect(streamOf(probe, 'video')).toMatchObject({ codec_name: 'h264', width: 1280, height: 720 });
    expect(streamOf(probe, 'audio')).toMatchObject({ codec_name: 'aac', channels: 2 });
    expect(await isFastStart(file)).toBe(true);
    expect(Number(result?.size)).toBe(Number(probe.format.size));
    const report = await analyzeFlashBeep(file);
    console.info(
      `composite: ${report.uniqueFps.toFixed(1)} unique fps, A/V ${report.medianOffsetMs.toFixed(0)} ms (median), ` +
        `flashes ${report.flashRatio.toFixed(2)}, beeps ${report.beepRatio.toFixed(2)}`,
    );
    expectCaptured(report, { recordedS: RECORD_MS / 1000, wasBusy });
    expect(report.reordered).toBe(0);
    expect(report.singleStepRatio).toBeGreaterThan(0.1);
  }

  async function checkTrack(info: EgressInfo): Promise<void> {
    const file = info.fileResults[0]?.location ?? '';
    expect(path.relative(use().sluice.recordingsDir, file)).toMatch(/^tracks\/obs-TR_\w+\.mp4$/);
    const probe = await ffprobe(file);
    expect(probe.streams.map((stream) => stream.codec_name)).toEqual(['h264']);
    const [sent, recorded] = await Promise.all([codedPictures(use().fixture), codedPictures(file)]);
    expect(recorded.length).toBeGreaterThan((RECORD_MS / 1000 - 3) * 30);
    expect(recorded[0]?.key).toBe(true);
    // One unbroken run of what was sent: nothing lost, repeated, reordered or changed.
    const start = sent.findIndex((picture) => picture.hash === recorded[0]?.hash);
    expect(start).toBeGreaterThanOrEqual(0);
    const run = sent.slice(start, start + recorded.length).map((picture) => picture.hash);
    expect(recorded.map((picture) => picture.hash)).toEqual(run);
  }

  it('takes the same stream pushed on by node-media-server, an RTMP client nobody here wrote', async () => {
    const { ingress, rooms, rtmpUrl, fixture } = use();
    const roomName = freshName('relayed');
    const { streamKey } = await ingress.createIngress(IngressInput.RTMP_INPUT, {
      name: 'platform',
      roomName,
      participantIdentity: 'platform',
    });
    const platform = await startRtmpPlatform({
      program: path.resolve(import.meta.dirname, '..', '..', 'dist', 'main.js'),
      pushUrl: rtmpUrl(streamKey),
    });
    const relay = pushFile(fixture, platform.publishUrl);
    try {
      await expect
        .poll(async () => (await rooms.listParticipants(roomName).catch(() => []))[0]?.tracks.length, {
          timeout: 20_000,
        })
        .toBe(2);
    } finally {
      await relay.stop();
      await platform.close();
    }
    await expect
      .poll(async () => (await rooms.listParticipants(roomName).catch(() => [])).length, { timeout: 20_000 })
      .toBe(0);
  });
});
