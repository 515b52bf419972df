import {
  IngressClient,
  IngressInput,
  IngressVideoOptions,
  RoomServiceClient,
  TrackSource,
  type IngressInfo,
  type IngressState,
} from 'livekit-server-sdk';
import { IngressState_Status } from '@livekit/protocol';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { freshName } from '../support/fresh-name.ts';
import { ObsLikeEncoder } from '../support/obs-like-encoder.ts';
import { until } from '../support/published-room.ts';
import { API_KEY, API_SECRET, startSluiceProcess, type SluiceProcess } from '../support/sluice-process.ts';

const LAYERS = [{ width: 320, height: 180, bitrateKbps: 300 }];

let sluice: SluiceProcess;
let ingress: IngressClient;
let rooms: RoomServiceClient;
let encoder: ObsLikeEncoder | undefined;

beforeAll(async () => {
  sluice = await startSluiceProcess();
  ingress = new IngressClient(sluice.apiUrl, API_KEY, API_SECRET);
  rooms = new RoomServiceClient(sluice.apiUrl, API_KEY, API_SECRET);
});
afterEach(() => {
  encoder?.drop();
  encoder = undefined;
});
afterAll(async () => {
  await sluice.cleanUp();
});

function create(roomName: string): Promise<IngressInfo> {
  return ingress.createIngress(IngressInput.WHIP_INPUT, {
    name: 'studio camera',
    roomName,
    participantIdentity: 'obs',
    participantName: 'OBS',
    video: new IngressVideoOptions({ name: 'picture', source: TrackSource.SCREEN_SHARE }),
  });
}

/** The SDK brings its own copy of the enumeration, but not its names. */
function statusOf(state: IngressState | undefined): string | undefined {
  return IngressState_Status[state?.status ?? -1];
}

async function stateOf(ingressId: string): Promise<IngressState | undefined> {
  return (await ingress.listIngress({ ingressId }))[0]?.state;
}

const reach = (ingressId: string, accept: (state: IngressState) => boolean): Promise<IngressState> =>
  until(30_000, `${ingressId} to reach a state`, async () => {
    const state = await stateOf(ingressId);
    return state !== undefined && accept(state) ? state : undefined;
  });

test("an endpoint made with LiveKit's SDK publishes, shows what it gets, and is inactive again", async () => {
  const room = freshName('whip-states');
  const info = await create(room);
  expect(info.url).toMatch(/^http:\/\/localhost:\d+\/w$/);
  expect(info).toMatchObject({ reusable: true, enableTranscoding: false });
  expect(statusOf(await stateOf(info.ingressId))).toBe('ENDPOINT_INACTIVE');
  encoder = await ObsLikeEncoder.start({ url: sluice.whipUrl, bearer: info.streamKey, layers: LAYERS });
  const publishing = await reach(
    info.ingressId,
    (state) =>
      statusOf(state) === 'ENDPOINT_PUBLISHING' &&
      (state.video?.averageBitrate ?? 0) > 0 &&
      (state.audio?.averageBitrate ?? 0) > 0,
  );
  expect(publishing.resourceId).toMatch(/^WH_/);
  expect(publishing.video).toMatchObject({ mimeType: 'video/H264', width: 320, height: 180 });
  expect(publishing.audio).toMatchObject({ mimeType: 'audio/opus' });
  const [obs] = await rooms.listParticipants(room);
  expect(obs).toMatchObject({ identity: 'obs', name: 'OBS' });
  expect(obs?.attributes).toMatchObject({
    'ingress.ingressID': info.ingressId,
    'ingress.resourceID': publishing.resourceId,
  });
  expect(obs?.tracks.find(({ name }) => name === 'picture')?.source).toBe(TrackSource.SCREEN_SHARE);
  const second = ObsLikeEncoder.start({ url: sluice.whipUrl, bearer: info.streamKey, layers: LAYERS });
  await expect(second).rejects.toThrow('409');
  expect(await encoder.stop()).toBe(200);
  const final = await reach(info.ingressId, (state) => statusOf(state) === 'ENDPOINT_INACTIVE');
  expect(final.error).toBe('');
  expect(final.endedAt).toBeGreaterThan(final.startedAt);
  expect(sluice.log()).not.toContain(info.streamKey);
});

test('a renamed endpoint keeps its encoder; one that moves and one that is removed let it go', async () => {
  const [before, after] = [freshName('whip-update'), freshName('whip-moved')];
  const info = await create(before);
  const publish = (): Promise<ObsLikeEncoder> =>
    ObsLikeEncoder.start({ url: `${sluice.whipUrl}/${info.streamKey}`, layers: LAYERS });
  const named = (room: string, name: string): Promise<true> =>
    until(20_000, 'the participant', async () => {
      const participants = await rooms.listParticipants(room).catch(() => []);
      return participants.some((each) => each.identity === 'obs' && each.name === name) ? true : undefined;
    });
  encoder = await publish();
  await reach(info.ingressId, (state) => statusOf(state) === 'ENDPOINT_PUBLISHING');
  const renamed = await ingress.updateIngress(info.ingressId, {
    name: 'renamed',
    participantName: 'Camera',
  });
  expect(renamed.name).toBe('renamed');
  expect(statusOf(renamed.state)).toBe('ENDPOINT_PUBLISHING');
  await named(before, 'Camera');

  const moved = await ingress.updateIngress(info.ingressId, { name: 'moved', roomName: after });
  expect(statusOf(moved.state)).toBe('ENDPOINT_INACTIVE');
  encoder.drop();
  encoder = await publish();
  await reach(info.ingressId, (state) => statusOf(state) !== 'ENDPOINT_INACTIVE');
  await named(after, 'Camera');
  await ingress.deleteIngress(info.ingressId);
  await until(20_000, 'an empty room', async () =>
    (await rooms.listParticipants(after).catch(() => [])).length === 0 ? true : undefined,
  );
  // Late by a moment is not wrong; twice is.
  expect((await fetch(encoder.location, { method: 'DELETE' })).status).toBe(200);
  expect((await fetch(encoder.location, { method: 'DELETE' })).status).toBe(404);
});
