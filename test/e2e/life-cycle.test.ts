import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { DirectFileOutput, EgressStatus, EncodedFileOutput, type EgressInfo } from 'livekit-server-sdk';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ffprobe, streamOf } from '../support/ffprobe.ts';
import { ROOM, startPublishedRoom, type PublishedRoom } from '../support/published-room.ts';

const { EGRESS_ACTIVE, EGRESS_COMPLETE, EGRESS_FAILED } = EgressStatus;
/** Long enough for a few key frames. */
const RECORD_MS = 4000;

describe('life cycle', () => {
  let studio: PublishedRoom | undefined;
  const use = (): PublishedRoom => studio ?? expect.fail('the room did not start');
  beforeEach(async () => {
    studio = await startPublishedRoom();
  }, 240_000);
  afterEach(() => studio?.close());

  const startTrack = (name: string): Promise<EgressInfo> =>
    use().egress.startTrackEgress(ROOM, new DirectFileOutput({ filepath: `${name}.mp4` }), use().videoSid);
  const playable = async (name: string): Promise<void> => {
    const probe = await ffprobe(path.join(use().sluice.recordingsDir, `${name}.mp4`));
    expect(streamOf(probe, 'video').codec_name).toBe('h264');
    expect(Number(streamOf(probe, 'video').nb_read_packets)).toBeGreaterThan(30);
  };
  it(
    'finishes running recordings on Ctrl-C and leaves no process and no temporary file',
    { timeout: 150_000 },
    async () => {
      const { egress, reach, sluice } = use();
      const composite = await egress.startRoomCompositeEgress(ROOM, {
        file: new EncodedFileOutput({ filepath: 'all.mp4' }),
      });
      const track = await startTrack('track');
      await Promise.all([reach(composite.egressId, EGRESS_ACTIVE), reach(track.egressId, EGRESS_ACTIVE)]);
      expect((await sluice.descendants()).length).toBeGreaterThanOrEqual(3);
      await delay(RECORD_MS);
      expect(await sluice.end('SIGINT')).toBe(0);
      expect(await sluice.descendants()).toEqual([]);
      expect(await readdir(sluice.tmpDir)).toEqual([]);
      await playable('track');
      await playable('all');
      expect(
        (await readdir(sluice.recordingsDir)).filter(
          (name) => !/^((all|track)\.mp4|EG_\w+\.json)$/.test(name),
        ),
      ).toEqual([]);
    },
  );

  it(
    'loses one job when its process is killed: the others go on, and its file stays and plays',
    { timeout: 150_000 },
    async () => {
      const { egress, reach, rooms, sluice } = use();
      const victim = await startTrack('victim');
      await reach(victim.egressId, EGRESS_ACTIVE);
      const handler = (await sluice.descendants()).find(({ command }) => command.includes(victim.egressId));
      const survivor = await startTrack('survivor');
      await reach(survivor.egressId, EGRESS_ACTIVE);
      await delay(RECORD_MS);
      process.kill(handler?.pid ?? expect.fail('no handler process'), 'SIGKILL');
      expect((await reach(victim.egressId, EGRESS_FAILED)).error).not.toBe('');
      expect((await reach(survivor.egressId, EGRESS_ACTIVE)).error).toBe('');
      const obs = (await rooms.listParticipants(ROOM)).find(({ identity }) => identity === 'obs');
      expect(obs?.tracks).toHaveLength(2);
      await egress.stopEgress(survivor.egressId);
      await reach(survivor.egressId, EGRESS_COMPLETE);
      await playable('survivor');
      await playable('victim');
    },
  );
});
