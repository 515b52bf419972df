import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import { launchChromium, type TestBrowser } from '../support/chromium.ts';
import { freshName } from '../support/fresh-name.ts';
import { eventually, LivekitPage, serveLivekitPage, type Picture } from '../support/livekit-page.ts';
import { RoomInternal } from '../../services/bus/rpc-methods.ts';
import { RtcNodePeer } from '../support/rtc-node-peer.ts';
import { startSfuServer, type SfuServer } from '../support/sfu-server.ts';

vi.setConfig({ testTimeout: 150_000 });

let server: SfuServer;
let browser: TestBrowser;

beforeAll(async () => {
  server = await startSfuServer({ onRequest: serveLivekitPage });
  browser = await launchChromium();
});
afterAll(async () => {
  await browser.close();
  await server.close();
  await RtcNodePeer.dispose();
});

const open: LivekitPage[] = [];
const nodePeers: RtcNodePeer[] = [];
afterEach(async () => {
  // Cameras of earlier tests must not take CPU from later ones.
  await Promise.all(open.splice(0).map((page) => page.page.close()));
  await Promise.all(nodePeers.splice(0).map((peer) => peer.close()));
});

async function join(identity: string, room: string, roomOptions: object = {}): Promise<LivekitPage> {
  const page = await LivekitPage.open(browser, server);
  open.push(page);
  await page.connect(server.wsUrl, await server.joinToken(identity, room), roomOptions);
  return page;
}

/** Mean absolute difference of two downscaled pictures, 0…255. */
function difference(a: Picture, b: Picture): number {
  return (
    a.rgba.reduce((sum, value, index) => sum + Math.abs(value - (b.rgba[index] ?? 0)), 0) / a.rgba.length
  );
}

/** The largest channel spread: 0 for a black or plain picture. */
function spread(picture: Picture): number {
  return (
    Math.max(...picture.rgba.filter((_, index) => index % 4 !== 3)) -
    Math.min(...picture.rgba.filter((_, index) => index % 4 !== 3))
  );
}

async function shownPicture(page: LivekitPage): Promise<Picture> {
  const picture = await eventually(
    'a picture',
    () => page.picture(),
    (shown) => shown !== null && spread(shown) > 60,
  );
  return picture as Picture;
}

/** Few pictures, and all of them in full size: browsers without time send smaller ones, which tells nothing about us. */
const RESOLUTION = { width: 960, height: 540, frameRate: 15 };
const PUBLISH = { simulcast: true, degradationPreference: 'maintain-resolution' };
const LAYER_WIDTHS = [320, 640, 960];
/** Spatial layers of one stream halve the picture. */
const SVC_WIDTHS = [240, 480, 960];

/** Alice publishes camera and microphone; she and bob sit in tabs of one Chromium. */
async function stage(
  name: string,
  videoOptions: object,
): Promise<{ room: string; alice: LivekitPage; bob: LivekitPage }> {
  const room = freshName(name);
  const alice = await join('alice', room, { dynacast: true });
  const bob = await join('bob', room);
  await alice.publish({ ...PUBLISH, ...videoOptions }, RESOLUTION);
  return { room, alice, bob };
}

const framesDecoded = async (page: LivekitPage): Promise<number> =>
  (await page.inbound('video')).reduce((sum, video) => sum + video.framesDecoded, 0);

/** Waits until the page has decoded this many more frames than it has now. */
async function moreFrames(page: LivekitPage, count: number): Promise<void> {
  const before = await framesDecoded(page);
  await eventually(
    `${count} more frames`,
    () => framesDecoded(page),
    (frames) => frames >= before + count,
  );
}

for (const codec of ['vp8', 'h264', 'vp9', 'av1'] as const) {
  it(`carries layered ${codec}, Opus and data from Chromium to Chromium and rtc-node`, async () => {
    const { room, alice, bob } = await stage(`media-${codec}`, { videoCodec: codec });
    const carol = await RtcNodePeer.connect(server.wsUrl, await server.joinToken('carol', room));
    nodePeers.push(carol);

    const [video] = await eventually(
      'decoded video',
      () => bob.inbound('video'),
      ([first]) => (first?.framesDecoded ?? 0) > 30,
    );
    expect(video?.codec.toLowerCase()).toBe(`video/${codec}`);
    const first = await shownPicture(bob);
    await eventually(
      'a changed picture',
      () => bob.picture(),
      (later) => later !== null && difference(first, later) > 0.5,
    );
    await eventually(
      'sound',
      () => bob.inbound('audio'),
      ([sound]) => (sound?.totalAudioEnergy ?? 0) > 0,
    );

    const seen = await eventually(
      'video in rtc-node',
      () => [...carol.videos.values()][0],
      (received) => (received?.frames ?? 0) > 30,
    );
    expect(codec === 'vp9' || codec === 'av1' ? SVC_WIDTHS : LAYER_WIDTHS).toContain(seen?.width);
    expect(new Set(seen?.luma).size).toBeGreaterThan(5);
    const heard = await eventually(
      'sound in rtc-node',
      () => [...carol.audios.values()][0],
      (received) => (received?.peak ?? 0) > 1000,
    );
    expect(heard?.samples).toBeGreaterThan(0);

    await alice.run(
      `app.room.localParticipant.publishData(new TextEncoder().encode('hi'), { reliable: true, topic: 't' })`,
    );
    await carol.sendData('ho', { reliable: true, topic: 't' });
    await eventually(
      'data from Chromium',
      () => carol.data,
      (data) => data.length > 0,
    );
    expect(carol.data).toEqual([{ text: 'hi', from: 'alice', topic: 't' }]);
    const data = await eventually(
      'data from rtc-node',
      () => bob.data(),
      (received) => received.length === 2,
    );
    expect(data.map(({ text, from }) => [text, from]).sort()).toEqual([
      ['hi', 'alice'],
      ['ho', 'carol'],
    ]);
  });
}

it('switches layers on request, and stops the ones nobody wants', async () => {
  const { alice, bob } = await stage('layers', { videoCodec: 'vp8' });
  await eventually(
    'all layers',
    () => alice.outbound(),
    (layers) => layers.length === 3 && layers.every(({ framesEncoded }) => framesEncoded > 0),
    40_000,
  );
  for (const quality of [2, 0, 1, 0, 2]) {
    await bob.run(`app.remoteVideos().forEach((publication) => publication.setVideoQuality(${quality}))`);
    await eventually(
      `quality ${quality}`,
      () => bob.inbound('video'),
      ([video]) => video?.width === LAYER_WIDTHS[quality],
      40_000,
    );
    await moreFrames(bob, 10);
  }
  const [video] = await bob.inbound('video');
  // Every switch that leaves a gap in the numbers would count; a socket that overflows now and then may.
  expect(video?.packetsLost).toBeLessThanOrEqual((video?.packetsReceived ?? 0) / 200);
  await bob.run('app.remoteVideos().forEach((publication) => publication.setVideoQuality(0))');
  await eventually(
    'dynacast',
    () => alice.outbound(),
    (layers) => layers.find(({ rid }) => rid === 'f')?.active === false,
    40_000,
  );
  expect((await alice.outbound()).find(({ rid }) => rid === 'q')?.active).toBe(true);
  await bob.run('app.remoteVideos().forEach((publication) => publication.setVideoQuality(2))');
  await eventually(
    'the full size again',
    () => bob.inbound('video'),
    ([full]) => full?.width === 960,
    40_000,
  );
});

it('sends small elements small layers (adaptive stream)', async () => {
  const room = freshName('adaptive');
  const alice = await join('alice', room, { dynacast: true });
  const bob = await join('bob', room, { adaptiveStream: true });
  await alice.publish({ ...PUBLISH, videoCodec: 'vp8' }, RESOLUTION);
  const width = (): Promise<number | undefined> => bob.inbound('video').then(([video]) => video?.width);
  await eventually('the layer for 640 pixels', width, (shown) => shown === 640, 40_000);
  await bob.run(`document.querySelector('video').style.width = '200px'`);
  await eventually('the layer for 200 pixels', width, (shown) => shown === 320, 40_000);
  await bob.run(`document.querySelector('video').style.display = 'none'`);
  await eventually(
    'nothing for a hidden element',
    () => alice.outbound(),
    (layers) => layers.every(({ active }) => !active),
    40_000,
  );
  await bob.run(`document.querySelector('video').style.display = 'block'`);
  await moreFrames(bob, 10);
});

it('shows mute both ways, late joiners, unsubscribe and unpublish', async () => {
  const { room, alice, bob } = await stage('states', { videoCodec: 'vp8', simulcast: false });
  await moreFrames(bob, 10);

  await alice.run('app.room.localParticipant.setMicrophoneEnabled(false)');
  await eventually(
    'mute',
    () => bob.events(),
    (events) => events.some((event) => event.startsWith('TrackMuted')),
  );
  await alice.run('app.room.localParticipant.setMicrophoneEnabled(true)');
  await eventually(
    'unmute',
    () => bob.events(),
    (events) => events.some((event) => event.startsWith('TrackUnmuted')),
  );

  const trackSid = await alice.run<string>(
    `[...app.room.localParticipant.videoTrackPublications.values()][0].trackSid`,
  );
  await server.bus.request(RoomInternal.mutePublishedTrack, {
    room,
    identity: 'alice',
    trackSid,
    muted: true,
  });
  await eventually(
    'mute by the API',
    () => alice.run<boolean>('app.room.localParticipant.isCameraEnabled'),
    (enabled) => !enabled,
  );
  await alice.run('app.room.localParticipant.setCameraEnabled(true)');
  await moreFrames(bob, 10);

  const late = await join('late', room);
  await moreFrames(late, 10);
  await eventually(
    'sound for the late joiner',
    () => late.inbound('audio'),
    ([sound]) => (sound?.totalAudioEnergy ?? 0) > 0,
  );

  await late.run('app.remoteVideos().forEach((publication) => publication.setSubscribed(false))');
  await eventually(
    'unsubscribe',
    () => late.events(),
    (events) => events.some((event) => event.startsWith('TrackUnsubscribed')),
  );
  await late.run('app.remoteVideos().forEach((publication) => publication.setSubscribed(true))');
  await moreFrames(late, 10);

  await alice.run('app.room.localParticipant.setMetadata("news")');
  await eventually(
    'metadata',
    () => bob.run<string>(`app.room.remoteParticipants.get('alice').metadata`),
    (metadata) => metadata === 'news',
  );
  await alice.run(
    'app.room.localParticipant.unpublishTrack([...app.room.localParticipant.videoTrackPublications.values()][0].track)',
  );
  await eventually(
    'unpublish',
    () => bob.run<number>('app.remoteVideos().length'),
    (count) => count === 0,
  );
  await late.run('app.room.disconnect()');
  await eventually(
    'leave',
    () => bob.run<boolean>(`app.room.remoteParticipants.has('late')`),
    (present) => !present,
  );
});

it('resumes after a broken signal connection, and starts anew when asked to', async () => {
  const { alice, bob } = await stage('reconnect', { videoCodec: 'vp8', simulcast: false });
  await moreFrames(bob, 10);
  const sidBefore = await bob.run<string>('app.room.localParticipant.sid');

  await bob.run(`app.room.simulateScenario('signal-reconnect')`);
  await eventually(
    'the resume',
    () => bob.events(),
    (events) => events.includes('Reconnected'),
    40_000,
  );
  expect(await bob.run<string>('app.room.localParticipant.sid')).toBe(sidBefore);
  await moreFrames(bob, 20);
  await bob.run(
    `app.room.localParticipant.publishData(new TextEncoder().encode('after'), { reliable: true })`,
  );
  await eventually(
    'data after the resume',
    () => alice.data(),
    (data) => data.length === 1,
  );

  await alice.run(`app.room.simulateScenario('full-reconnect')`);
  await eventually(
    'the full reconnect',
    () => alice.events(),
    (events) => events.includes('Reconnected'),
    40_000,
  );
  await eventually(
    'the republished track',
    () => bob.run<boolean>(`app.remoteVideos().some((publication) => publication.isSubscribed)`),
    (subscribed) => subscribed,
    40_000,
  );
  await moreFrames(bob, 20);
});

it('tells who speaks and sends the second tab of one identity away', async () => {
  const { room, bob } = await stage('speakers', { videoCodec: 'vp8', simulcast: false });
  await eventually(
    'the speaker',
    () => bob.run<string[]>('app.room.activeSpeakers.map((speaker) => speaker.identity)'),
    (speaking) => speaking.includes('alice'),
  );
  const again = await join('bob', room);
  await eventually(
    'the first tab to be closed',
    () => bob.run<string>('app.room.state'),
    (state) => state === 'disconnected',
  );
  await moreFrames(again, 10);
});
