import { TrackSource } from '@livekit/protocol';
import { afterEach, expect, test, vi } from 'vitest';
import { BASELINE_720P, fixtureFile } from '../../fixtures/generate.ts';
import { RoomInternal } from '../../services/bus/rpc-methods.ts';
import { connectRoom } from '../../services/rtc-client/room-client.ts';
import { createLogger } from '../../services/base/logger.ts';
import { ENDPOINT_PUBLISHING, startIngressHarness } from '../support/ingress-harness.ts';
import { RoomViewers } from '../support/room-viewers.ts';
import { pushFile } from '../support/rtmp-push.ts';
import { disposeRtcNode, type RtcNodeViewer } from '../support/rtc-node-viewer.ts';
import { API_KEY, API_SECRET, startSfuServer } from '../support/sfu-server.ts';
import { startSignalTunnel } from '../support/signal-tunnel.ts';

const DAY_S = 24 * 3600;
/** `{"` in base64url: how every JWT begins. */
const TOKEN_START = 'eyJ';
const cleanUps: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) {
    await cleanUp();
  }
  await disposeRtcNode();
  vi.useRealTimers();
});

test('a session that is older than its token goes on, and reconnects with the one it was given since', async () => {
  const film = await fixtureFile(BASELINE_720P);
  const sfu = await startSfuServer();
  cleanUps.push(() => sfu.close());
  const tunnel = await startSignalTunnel(new URL(sfu.wsUrl).port);
  cleanUps.push(() => tunnel.close());
  const harness = await startIngressHarness({
    room: { wsUrl: tunnel.url, apiKey: API_KEY, apiSecret: API_SECRET },
    info: {
      video: { name: 'picture', source: TrackSource.CAMERA },
      audio: { name: 'sound', source: TrackSource.MICROPHONE },
    },
  });
  cleanUps.push(() => harness.close());
  const viewers = new RoomViewers(sfu);
  cleanUps.push(() => viewers.close());
  const viewer = await viewers.join();
  const push = pushFile(film, harness.url, { loop: true });
  cleanUps.push(() => push.stop());
  await harness.stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
  await expectFlow(viewer);
  const asLong = await sfu.joinToken('other', 'studio', { ttlS: DAY_S });
  const isValid = async (): Promise<boolean> =>
    (await fetch(`${sfu.httpUrl}/rtc/v1/validate?access_token=${asLong}`)).ok;
  const sidOf = async (): Promise<string> => {
    const who = { room: 'studio', identity: 'obs' };
    return (await sfu.bus.request(RoomInternal.getParticipant, who).catch(() => ({ sid: '' }))).sid;
  };
  expect(await isValid()).toBe(true);

  // Only what reads the wall clock notices: tokens.
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + (DAY_S + 3600) * 1000, shouldAdvanceTime: true });
  expect(await isValid()).toBe(false);
  await expectFlow(viewer);
  // The server gives out a new one every five minutes (unit/sfu-signal) and whenever the participant changes.
  const renewed = tunnel.passed(TOKEN_START);
  await sfu.bus.request(RoomInternal.updateParticipant, {
    ...{ room: 'studio', identity: 'obs', metadata: 'changed' },
  });
  await renewed;

  const sid = await sidOf();
  tunnel.cut();
  await expectFlow(viewer);
  expect(await sidOf()).toBe(sid);

  // Another one with its identity takes the session over, so that only a new session can help.
  tunnel.block();
  const twin = await connectRoom({
    url: sfu.wsUrl,
    token: await sfu.joinToken('obs', 'studio'),
    autoSubscribe: false,
    logger: createLogger({ level: 'silent' }),
  });
  await twin.close('was only there to take over');
  tunnel.unblock();
  await expect.poll(sidOf, { timeout: 30_000 }).toMatch(/^PA_/);
  expect(await sidOf()).not.toBe(sid);
  await expectFlow(viewer);
  await expect.poll(() => viewer.participant('obs')?.trackPublications.size, { timeout: 15_000 }).toBe(2);
  expect(harness.states.at(-1)).toMatchObject({ status: ENDPOINT_PUBLISHING, error: '' });
}, 120_000);

/** Picture and tone, from now on. */
async function expectFlow(viewer: RtcNodeViewer): Promise<void> {
  const { frames, sound } = viewer;
  const [firstFrame, firstSound] = [frames.length, sound.length];
  await viewer.until(
    () =>
      new Set(frames.slice(firstFrame).map(({ barcode }) => barcode)).size >= 30 &&
      sound.slice(firstSound).some(({ beep }) => beep),
  );
}
