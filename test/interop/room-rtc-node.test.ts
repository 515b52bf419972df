import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freshName } from '../support/fresh-name.ts';
import { eventually } from '../support/livekit-page.ts';
import { RtcNodePeer } from '../support/rtc-node-peer.ts';
import { startSfuServer, type SfuServer } from '../support/sfu-server.ts';

let server: SfuServer;
const peers: RtcNodePeer[] = [];

beforeAll(async () => {
  server = await startSfuServer();
});
afterAll(async () => {
  await Promise.all(peers.map((peer) => peer.close()));
  await server.close();
  await RtcNodePeer.dispose();
});

async function join(identity: string, room: string): Promise<RtcNodePeer> {
  const peer = await RtcNodePeer.connect(server.wsUrl, await server.joinToken(identity, room));
  peers.push(peer);
  return peer;
}

describe('@livekit/rtc-node', () => {
  it('publishes to, and decodes from, another of its kind', async () => {
    const room = freshName('pair');
    const alice = await join('alice', room);
    const bob = await join('bob', room);
    const video = await alice.publishVideo(320, 240);
    const audio = await alice.publishTone();
    const seen = await eventually(
      'video',
      () => bob.videos.get(video),
      (received) => (received?.frames ?? 0) > 40,
    );
    expect(seen).toMatchObject({ width: 320, height: 240 });
    expect(Math.max(...(seen?.luma ?? [])) - Math.min(...(seen?.luma ?? []))).toBeGreaterThan(30);
    const heard = await eventually(
      'sound',
      () => bob.audios.get(audio),
      (received) => (received?.samples ?? 0) > 48_000,
    );
    expect(heard?.peak).toBeGreaterThan(6_000);

    const carol = await join('carol', room);
    await eventually(
      'video for a late joiner',
      () => carol.videos.get(video)?.frames ?? 0,
      (frames) => frames > 10,
    );

    await bob.sendData('to all', { reliable: true, topic: 'chat' });
    await bob.sendData('to carol', { reliable: true, topic: 'chat', to: ['carol'] });
    await eventually(
      'data',
      () => carol.data,
      (data) => data.length === 2,
    );
    expect(carol.data).toEqual([
      { text: 'to all', from: 'bob', topic: 'chat' },
      { text: 'to carol', from: 'bob', topic: 'chat' },
    ]);
    expect(alice.data).toEqual([{ text: 'to all', from: 'bob', topic: 'chat' }]);
  });
});
