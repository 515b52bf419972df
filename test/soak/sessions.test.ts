import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { DirectFileOutput, EgressStatus, IngressInput } from 'livekit-server-sdk';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ROOM, startPublishedRoom, until, type PublishedRoom } from '../support/published-room.ts';
import { pushFile } from '../support/rtmp-push.ts';

/** SOAK_MINUTES=10 by default. */
const MINUTES = Number(process.env['SOAK_MINUTES'] ?? '10');
const WARM_UP_ROUNDS = 5;
const MAX_RSS_GROWTH_MB = 60;
const MAX_DESCRIPTOR_GROWTH = 10;

let studio: PublishedRoom | undefined;
const use = (): PublishedRoom => studio ?? expect.fail('the room did not start');
beforeAll(async () => {
  studio = await startPublishedRoom();
}, 240_000);
afterAll(() => studio?.close());

/** One encoder that comes and goes, and one recording that starts and ends, beside a stream that stays. */
async function round(number: number): Promise<void> {
  const { egress, fixture, ingress, reach, rooms, rtmpUrl, videoSid } = use();
  const room = `soak-${number}`;
  const { ingressId, streamKey } = await ingress.createIngress(IngressInput.RTMP_INPUT, {
    roomName: room,
    participantIdentity: 'obs',
  });
  const push = pushFile(fixture, rtmpUrl(streamKey));
  await until(20_000, `tracks in ${room}`, async () => {
    const [obs] = await rooms.listParticipants(room).catch(() => []);
    return obs?.tracks.length === 2 ? true : undefined;
  });
  const job = await egress.startTrackEgress(
    ROOM,
    new DirectFileOutput({ filepath: `${room}.mp4` }),
    videoSid,
  );
  await reach(job.egressId, EgressStatus.EGRESS_ACTIVE);
  await delay(2000);
  await egress.stopEgress(job.egressId);
  await reach(job.egressId, EgressStatus.EGRESS_COMPLETE);
  await push.stop();
  await until(20_000, `${room} to be empty`, async () => {
    const people = await rooms.listParticipants(room).catch(() => []);
    return people.length === 0 ? true : undefined;
  });
  await rooms.deleteRoom(room).catch(() => undefined);
  await ingress.deleteIngress(ingressId);
}

async function footprint(): Promise<{ rssMb: number; descriptors: number; processes: number }> {
  const { sluice } = use();
  const { pid } = sluice;
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return {
    rssMb: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024,
    descriptors: (await readdir(`/proc/${pid}/fd`)).length,
    processes: (await sluice.descendants()).length,
  };
}

it('sessions that come and go leave nothing behind', { timeout: (MINUTES + 5) * 60_000 }, async () => {
  for (let number = 0; number < WARM_UP_ROUNDS; number += 1) {
    await round(number);
  }
  const before = await footprint();
  const endMs = Date.now() + MINUTES * 60_000;
  let rounds = WARM_UP_ROUNDS;
  while (Date.now() < endMs) {
    await round(rounds);
    rounds += 1;
  }
  const after = await footprint();
  console.info(`${rounds} rounds: ${JSON.stringify({ before, after })}`);
  expect(after.rssMb - before.rssMb).toBeLessThan(MAX_RSS_GROWTH_MB);
  expect(after.descriptors - before.descriptors).toBeLessThanOrEqual(MAX_DESCRIPTOR_GROWTH);
  expect(after.processes).toBe(before.processes);
});
