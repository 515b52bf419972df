/* eslint-disable @typescript-eslint/no-deprecated -- clients in the field still read and write these fields */
import { SimulcastCodec, SubscriptionError, TrackSource, TrackType } from '@livekit/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EXTENSION_URI, parseSdp } from '../../../services/protocol/sdp.ts';
import { clientOffer } from './offers/client-offer.ts';
import { PLACEHOLDERS, PUBLISH, PUBLISH_TRACK_IDS } from './offers/offers.ts';
import { SignalHarness, type SignalClient } from './signal-harness.ts';

let harness: SignalHarness;
beforeEach(async () => {
  harness = await new SignalHarness().start();
});
afterEach(() => harness.close());

const camera = (cid: string) => ({
  cid,
  type: TrackType.VIDEO,
  source: TrackSource.CAMERA,
  width: 1280,
  height: 720,
});
const microphone = (cid: string) => ({ cid, type: TrackType.AUDIO, source: TrackSource.MICROPHONE });

async function publishCamera(client: SignalClient, cid: string): Promise<string> {
  const { track } = await client.addTrack(camera(cid));
  await client.offer(clientOffer([{ kind: 'video', direction: 'sendonly', trackId: cid }]));
  client.transport.connect();
  return track?.sid ?? '';
}

describe('the first answer', () => {
  it('accepts every header extension on inactive placeholders, or Chromium never offers them again', async () => {
    const client = await harness.join('alice');
    const answer = parseSdp((await client.offer(PLACEHOLDERS)).sdp);
    expect(answer).toMatchObject({ iceLite: true, setup: 'passive', iceUfrag: 'ufragOne' });
    expect(answer.media).toHaveLength(7);
    for (const section of answer.media.slice(0, 6)) {
      expect(section).toMatchObject({ direction: 'inactive', rejected: false });
    }
    const offered = parseSdp(PLACEHOLDERS).media[3]?.extensions;
    for (const name of ['mid', 'rid', 'repairedRid', 'transportCc', 'absSendTime'] as const) {
      const uri = EXTENSION_URI[name];
      expect(answer.media[3]?.extensions.get(uri)).toBe(offered?.get(uri));
      expect(client.transport.media.extensions[name]).toBe(offered?.get(uri));
    }
    expect(answer.media[0]?.extensions.has(EXTENSION_URI.audioLevel)).toBe(true);
    expect(answer.media[6]).toMatchObject({ kind: 'application', rejected: false });
  });

  it('comes for the offer inside the join request too, after the tracks announced there', async () => {
    const client = await harness.join('alice', {
      join: {
        addTrackRequests: [microphone(PUBLISH_TRACK_IDS.audio)],
        publisherOffer: { type: 'offer', sdp: PUBLISH, id: 1 },
      },
    });
    const published = await client.next('trackPublished');
    const answer = await client.next('answer');
    expect(answer.id).toBe(1);
    expect(published.cid).toBe(PUBLISH_TRACK_IDS.audio);
    expect(client.transport.media.publications.get('2')?.codec.name).toBe('opus');
  });
});

describe('publishing', () => {
  it('binds announced tracks to their sections, simulcast and plain', async () => {
    const client = await harness.join('alice');
    await client.addTrack(microphone(PUBLISH_TRACK_IDS.audio));
    await client.addTrack(camera(PUBLISH_TRACK_IDS.simulcast));
    await client.addTrack({ ...camera(PUBLISH_TRACK_IDS.plain), source: TrackSource.SCREEN_SHARE });
    const answer = parseSdp((await client.offer(PUBLISH)).sdp);
    const { publications } = client.transport.media;
    expect([...publications.keys()]).toEqual(['2', '3', '4']);
    expect(publications.get('3')?.options.rids).toEqual(['q', 'h', 'f']);
    expect(publications.get('3')?.options.layerByRid.get('f')).toBe(2);
    expect(publications.get('4')?.options.ssrcs.size).toBe(1);
    expect(answer.media[3]).toMatchObject({ direction: 'recvonly', recvRids: ['q', 'h', 'f'] });
    expect(answer.media[3]?.codecs.map(({ name }) => name)).toEqual(['VP8']);
    expect(answer.media[3]?.codecs[0]?.feedback).toContain('transport-cc');
    const { participants } = await client.next(
      'update',
      (update) => update.participants[0]?.tracks.length === 3,
    );
    expect(participants[0]?.tracks.map(({ mid, simulcast }) => [mid, simulcast])).toEqual([
      ['2', false],
      ['3', true],
      ['4', false],
    ]);
  });

  it('takes the announced codec, H264 in the constrained baseline with packetization mode 1', async () => {
    const client = await harness.join('alice');
    await client.addTrack({
      ...camera(PUBLISH_TRACK_IDS.plain),
      simulcastCodecs: [new SimulcastCodec({ codec: 'h264', cid: PUBLISH_TRACK_IDS.plain })],
    });
    const answer = parseSdp((await client.offer(PUBLISH)).sdp);
    expect(answer.media[4]?.codecs).toHaveLength(1);
    expect(answer.media[4]?.codecs[0]?.fmtp).toMatch(/packetization-mode=1;profile-level-id=42[e0]0/);
  });

  it('answers an offer that comes before its addTrack, then asks for it again', async () => {
    const client = await harness.join('alice');
    const offer = clientOffer([{ kind: 'video', direction: 'sendonly', trackId: 'early' }]);
    expect(parseSdp((await client.offer(offer)).sdp).media[0]?.direction).toBe('inactive');
    await client.addTrack(camera('early'));
    await client.next('mediaSectionsRequirement', ({ numAudios, numVideos }) => numAudios + numVideos === 0);
    expect(parseSdp((await client.offer(offer)).sdp).media[0]?.direction).toBe('recvonly');
  });

  it('answers the same offer again without publishing twice', async () => {
    const client = await harness.join('alice');
    await publishCamera(client, 'cam');
    const first = client.transport.media.publications.get('0');
    await client.offer(clientOffer([{ kind: 'video', direction: 'sendonly', trackId: 'cam' }]));
    expect(client.transport.media.publications.get('0')).toBe(first);
  });

  it('unpublishes when the section stops sending, is stopped, or is missing', async () => {
    for (const gone of [
      clientOffer([{ kind: 'video', direction: 'inactive' }]),
      clientOffer([{ kind: 'video', direction: 'inactive' }]).replace('m=video 9', 'm=video 0'),
      clientOffer([]),
    ]) {
      const client = await harness.join('alice');
      await publishCamera(client, 'cam');
      await client.offer(gone);
      await client.next('update', (update) => update.participants[0]?.tracks.length === 0);
      expect(client.transport.media.publications.size).toBe(0);
    }
  });

  it('gives a recycled section to the new track', async () => {
    const client = await harness.join('alice');
    const first = await publishCamera(client, 'one');
    const second = await client.addTrack(camera('two'));
    await client.offer(clientOffer([{ kind: 'video', direction: 'sendonly', trackId: 'two' }]));
    const update = await client.next('update', ({ participants }) =>
      (participants[0]?.tracks ?? []).some(({ sid }) => sid === second.track?.sid),
    );
    expect(update.participants[0]?.tracks.map(({ sid }) => sid)).not.toContain(first);
  });

  it('passes an ICE restart on to the transport', async () => {
    const client = await harness.join('alice');
    await client.offer(clientOffer([]));
    client.transport.localUfrag = 'ufragTwo';
    const answer = await client.offer(clientOffer([], { ufrag: 'newu', version: 2 }));
    expect(client.transport.remotes.map(({ ufrag }) => ufrag)).toEqual(['cliu', 'newu']);
    expect(parseSdp(answer.sdp).iceUfrag).toBe('ufragTwo');
  });

  it('refuses garbage without harming the session', async () => {
    const client = await harness.join('alice');
    for (const sdp of [
      '',
      'garbage',
      'v=0\r\n' + 'a=x\r\n'.repeat(10_000),
      PLACEHOLDERS.replace('a=mid:1', 'a=mid:0'),
    ]) {
      client.send({ case: 'offer', value: { type: 'offer', sdp, id: 9 } as never });
      const { message } = await client.next('requestResponse');
      expect(message).toContain('malformed SDP');
    }
    expect((await client.offer(PLACEHOLDERS)).sdp).toContain('m=audio');
  });
});

describe('subscribing', () => {
  it('uses a free section, asks for missing ones, and starts when the transport is up', async () => {
    const alice = await harness.join('alice');
    const trackSid = await publishCamera(alice, 'cam');
    const bob = await harness.join('bob');
    expect(await bob.next('mediaSectionsRequirement')).toMatchObject({ numAudios: 0, numVideos: 1 });
    const answer = await bob.offer(clientOffer([{ kind: 'video', direction: 'recvonly' }]));
    const section = parseSdp(answer.sdp).media[0];
    expect(section).toMatchObject({
      direction: 'sendonly',
      streamId: `${alice.sid}|camera`,
      trackId: trackSid,
    });
    expect(answer.midToTrackId).toEqual({ '0': trackSid });
    const [forwarder] = bob.transport.media.forwarders;
    expect(section?.sources).toEqual([{ ssrc: forwarder?.ssrc, rtxSsrc: forwarder?.rtxSsrc }]);
    expect(forwarder?.binding).toBeUndefined();
    bob.transport.connect();
    expect(forwarder?.binding).toMatchObject({ mid: '0', payloadType: 96, rtxPayloadType: 97 });
    expect((await alice.next('trackSubscribed')).trackSid).toBe(trackSid);
  });

  it('fills the sections of the very first offer', async () => {
    const alice = await harness.join('alice');
    const trackSid = await publishCamera(alice, 'cam');
    const bob = await harness.join('bob', {
      join: { publisherOffer: { type: 'offer', sdp: PLACEHOLDERS, id: 1 } },
    });
    expect(Object.values((await bob.next('answer')).midToTrackId)).toEqual([trackSid]);
    await bob.settled();
    expect(bob.waiting('mediaSectionsRequirement')).toEqual([]);
  });

  it('shows a freed section inactive before it carries the next track', async () => {
    const alice = await harness.join('alice');
    const one = await publishCamera(alice, 'one');
    const bob = await harness.join('bob', { autoSubscribe: false });
    const offer = clientOffer([{ kind: 'video', direction: 'recvonly' }]);
    bob.transport.connect();
    bob.send({ case: 'subscription', value: { trackSids: [one], subscribe: true } as never });
    expect((await bob.offer(offer)).midToTrackId).toEqual({ '0': one });

    bob.send({ case: 'subscription', value: { trackSids: [one], subscribe: false } as never });
    bob.send({ case: 'subscription', value: { trackSids: [one], subscribe: true } as never });
    const drained = await bob.offer(offer);
    expect(drained.midToTrackId).toEqual({});
    expect(parseSdp(drained.sdp).media[0]?.direction).toBe('inactive');
    await bob.next('mediaSectionsRequirement');
    expect((await bob.offer(offer)).midToTrackId).toEqual({ '0': one });
    expect([...bob.transport.media.forwarders]).toHaveLength(1);
  });

  it('sends H264 on the payload type whose parameters are the publisher’s', async () => {
    const alice = await harness.join('alice');
    await alice.addTrack({
      ...camera('cam'),
      simulcastCodecs: [new SimulcastCodec({ codec: 'h264', cid: 'cam' })],
    });
    await alice.offer(clientOffer([{ kind: 'video', direction: 'sendonly', trackId: 'cam' }]));
    const bob = await harness.join('bob');
    const answer = parseSdp((await bob.offer(PLACEHOLDERS)).sdp);
    const seat = answer.media.find(({ direction }) => direction === 'sendonly');
    expect(seat?.codecs[0]?.fmtp).toBe(
      'level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f',
    );
  });

  it('tells a subscriber that lacks the codec, once, and gives its section to something else', async () => {
    const alice = await harness.join('alice');
    await alice.addTrack({
      ...camera('cam'),
      simulcastCodecs: [new SimulcastCodec({ codec: 'h264', cid: 'cam' })],
    });
    await alice.offer(clientOffer([{ kind: 'video', direction: 'sendonly', trackId: 'cam' }]));
    const bob = await harness.join('bob');
    const offer = clientOffer([{ kind: 'video', direction: 'recvonly' }]).replaceAll('H264', 'H265');
    expect((await bob.offer(offer)).midToTrackId).toEqual({});
    expect((await bob.next('subscriptionResponse')).err).toBe(SubscriptionError.SE_CODEC_UNSUPPORTED);
    const carol = await harness.join('carol');
    const plain = await publishCamera(carol, 'vp8');
    expect((await bob.offer(offer)).midToTrackId).toEqual({ '0': plain });
    expect(bob.waiting('subscriptionResponse')).toEqual([]);
  });
});
