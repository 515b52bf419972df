import { afterEach, beforeEach, expect, test } from 'vitest';
import { buildNack, buildPli } from '../../../services/media/rtp/rtcp-build.ts';
import type { Forwarder, NegotiatedCodec, Publication } from '../../../services/sfu/media-types.ts';
import { EXTENSION, MediaRig, vp8Fields, vp8Payload, type TestClient } from './media-rig.ts';

const VP8: NegotiatedCodec = { name: 'vp8', payloadType: 96, rtxPayloadType: 97, clockRateHz: 90_000 };
const RIDS = ['q', 'h'];
const FRAME_MS = 33;
const FRAME_TICKS = FRAME_MS * 90;

let rig: MediaRig;
let publisher: TestClient;

beforeEach(() => {
  rig = new MediaRig();
  publisher = rig.client();
});
afterEach(() => rig.close());

/** A publisher that makes key frames when it likes, not when it is asked. */
class DeafSource {
  frame = 0;
  packetsPerFrame = 2;
  payloadLength = 1_000;
  readonly #ssrc: number;
  readonly #rid: string;
  #sequence = 65_400;

  constructor(layer = 0, rid = '') {
    this.#ssrc = 1_000 + layer;
    this.#rid = rid;
  }

  timestamp(frame = this.frame): number {
    return (4_294_000_000 + this.#ssrc * 77_777 + frame * FRAME_TICKS) >>> 0;
  }

  send(options: { key?: boolean; lost?: boolean } = {}): void {
    for (let index = 0; index < this.packetsPerFrame; index += 1) {
      const payload = vp8Payload({
        pictureId: this.frame + 32_700,
        tl0: this.frame,
        key: options.key === true,
        start: index === 0,
        frame: this.frame,
        length: this.payloadLength,
      });
      if (options.lost !== true) {
        publisher.sendRtp(
          {
            payloadType: 96,
            marker: index === this.packetsPerFrame - 1,
            sequenceNumber: this.#sequence & 0xffff,
            timestamp: this.timestamp(),
            ssrc: this.#ssrc,
            extensions: [
              { id: EXTENSION.mid, data: Buffer.from('v') },
              ...(this.#rid === '' ? [] : [{ id: EXTENSION.rid, data: Buffer.from(this.#rid) }]),
            ],
          },
          payload,
        );
      }
      this.#sequence += 1;
    }
    this.frame += 1;
  }

  /** A key frame and what follows it. */
  group(frames: number, each: () => void = () => undefined): void {
    for (let index = 0; index < frames; index += 1) {
      this.send({ key: index === 0 });
      each();
      rig.advance(FRAME_MS);
    }
  }
}

function publish(options: { keepsGop?: boolean; rids?: readonly string[] } = {}): Publication {
  return publisher.media.addPublication({
    mid: 'v',
    kind: 'video',
    codec: VP8,
    rids: options.rids ?? [],
    layerByRid: new Map(RIDS.map((rid, layer) => [rid, layer])),
    ssrcs: new Map(),
    keepsGop: options.keepsGop ?? true,
  });
}

function subscribe(publication: Publication, to: TestClient): Forwarder {
  const forwarder = to.media.createForwarder(publication);
  forwarder.bind({
    mid: 'x',
    payloadType: 100,
    rtxPayloadType: 101,
    absSendTimeId: 2,
    transportCcId: 0,
    dependencyDescriptorId: 0,
  });
  return forwarder;
}

function framesOf(client: TestClient, forwarder: Forwarder): number[] {
  const packets = client.rtp.filter(({ ssrc, marker }) => ssrc === forwarder.ssrc && marker);
  return packets.map(({ payload }) => vp8Fields(payload).frame);
}

/** Every packet in its place: sequence numbers, picture ids and times rise as one stream's do. */
function expectOneStream(client: TestClient, forwarder: Forwarder): void {
  const packets = client.rtp.filter(({ ssrc }) => ssrc === forwarder.ssrc);
  for (let index = 1; index < packets.length; index += 1) {
    const [before, now] = [packets[index - 1], packets[index]];
    if (before === undefined || now === undefined) {
      continue;
    }
    expect((now.sequenceNumber - before.sequenceNumber) & 0xffff).toBe(1);
    const sameFrame = !before.marker;
    const step = (now.timestamp - before.timestamp) | 0;
    expect(sameFrame ? step === 0 : step > 0).toBe(true);
    const ids = [vp8Fields(before.payload), vp8Fields(now.payload)] as const;
    expect((ids[1].pictureId - ids[0].pictureId) & 0x7fff).toBe(sameFrame ? 0 : 1);
    expect((ids[1].tl0 - ids[0].tl0) & 0xff).toBe(sameFrame ? 0 : 1);
  }
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}

test('a viewer who comes in the middle of a long group of pictures gets all of it at once, others notice nothing', () => {
  const publication = publish();
  const source = new DeafSource();
  const early = rig.client();
  const first = subscribe(publication, early);
  source.group(150);
  const late = rig.client();
  const second = subscribe(publication, late);
  const burst = late.rtp.length;
  expect(burst).toBeGreaterThan(40);
  expect(burst).toBeLessThan(60); // the first burst fits a small receive buffer
  for (let index = 0; index < 60; index += 1) {
    source.send();
    rig.advance(FRAME_MS);
  }
  expect(framesOf(late, second)).toEqual(range(0, 210));
  expect(framesOf(early, first)).toEqual(range(0, 210));
  expectOneStream(late, second);
  expectOneStream(early, first);
  // Caught up: old pictures are squeezed into a fraction of a second, new ones have the publisher's own time.
  const times = late.rtp.filter(({ marker }) => marker).map(({ timestamp }) => timestamp);
  expect(times.at(-1)).toBe(source.timestamp(209));
  const firstOut = times[0] ?? 0;
  expect((source.timestamp(149) - firstOut) | 0).toBeLessThan((150 * FRAME_TICKS) / 60);
});

test('the next key frame ends the replay: it is shown at once', () => {
  const publication = publish();
  const source = new DeafSource();
  source.packetsPerFrame = 20;
  source.group(100);
  const viewer = rig.client();
  const forwarder = subscribe(publication, viewer);
  source.send({ key: true });
  source.send();
  const frames = framesOf(viewer, forwarder);
  expect(frames.slice(-2)).toEqual([100, 101]);
  expect(frames.length).toBeLessThan(20);
  const sequences = viewer.rtp.map(({ sequenceNumber }) => sequenceNumber);
  expect(sequences.every((one, i) => i === 0 || ((one - (sequences[i - 1] ?? 0)) & 0xffff) === 1)).toBe(true);
});

test('old packets are repeated on request like new ones', () => {
  const publication = publish();
  const source = new DeafSource();
  source.group(600);
  const viewer = rig.client();
  let dropped: number | undefined;
  viewer.loseDownlink = (datagram) => {
    dropped ??= datagram.readUInt16BE(2);
    return datagram.readUInt16BE(2) === dropped && ((datagram[1] ?? 0) & 0x7f) !== 101;
  };
  const forwarder = subscribe(publication, viewer);
  viewer.sendRtcp(buildNack(1, forwarder.ssrc, [dropped ?? 0]));
  const repeated = viewer.rtp.filter(({ ssrc }) => ssrc === forwarder.rtxSsrc);
  expect(repeated.map(({ payload }) => payload.readUInt16BE(0))).toEqual([dropped]);
  expect(vp8Fields(repeated[0]?.payload.subarray(2) ?? Buffer.alloc(20)).frame).toBe(0);
});

test('a receiver that lost the picture gets it again when the publisher stays deaf', () => {
  const publication = publish();
  const source = new DeafSource();
  const viewer = rig.client();
  const forwarder = subscribe(publication, viewer);
  source.group(5);
  // Asked for before the one that is under way has arrived.
  viewer.sendRtcp(buildPli(1, forwarder.ssrc));
  for (let index = 0; index < 35; index += 1) {
    source.send();
    rig.advance(FRAME_MS);
  }
  expect(framesOf(viewer, forwarder)).toEqual(range(0, 40));
  viewer.sendRtcp(buildPli(1, forwarder.ssrc));
  expect(publisher.rtcpOf('pli').length).toBeGreaterThan(0);
  for (let index = 0; index < 60; index += 1) {
    source.send();
    rig.advance(FRAME_MS);
  }
  const frames = framesOf(viewer, forwarder);
  const again = frames.lastIndexOf(0);
  expect(again).toBeGreaterThan(40);
  expect(frames.slice(again)).toEqual(range(0, 100));
  expectOneStream(viewer, forwarder);
});

test('a publisher that answers a key frame request makes a replay pointless', () => {
  const publication = publish();
  const source = new DeafSource();
  const viewer = rig.client();
  const forwarder = subscribe(publication, viewer);
  source.group(30);
  viewer.sendRtcp(buildPli(1, forwarder.ssrc));
  source.group(60);
  expect(framesOf(viewer, forwarder)).toEqual(range(0, 90));
});

test('pause and resume start over with the last key frame', () => {
  const publication = publish();
  const source = new DeafSource();
  const viewer = rig.client();
  const forwarder = subscribe(publication, viewer);
  source.group(20);
  forwarder.setPaused(true);
  for (let index = 0; index < 10; index += 1) {
    source.send();
    rig.advance(FRAME_MS);
  }
  expect(framesOf(viewer, forwarder)).toEqual(range(0, 20));
  forwarder.setPaused(false);
  source.send();
  rig.advance(FRAME_MS);
  source.send();
  expect(framesOf(viewer, forwarder)).toEqual([...range(0, 20), ...range(0, 32)]);
  expectOneStream(viewer, forwarder);
});

test('another layer is waited for half a second, then taken from its last key frame', () => {
  const publication = publish({ rids: RIDS });
  const low = new DeafSource(0, 'q');
  const high = new DeafSource(1, 'h');
  const both = (frames: number, key: boolean): void => {
    for (let index = 0; index < frames; index += 1) {
      low.send({ key: key && index === 0 });
      high.send({ key: key && index === 0 });
      rig.advance(FRAME_MS);
    }
  };
  both(30, true);
  const viewer = rig.client();
  const forwarder = subscribe(publication, viewer);
  both(30, false);
  expect(forwarder.currentLayer).toBe(1);
  forwarder.setMaxLayer(0);
  both(10, false);
  expect(forwarder.currentLayer).toBe(1);
  both(30, false);
  expect(forwarder.currentLayer).toBe(0);
  expectOneStream(viewer, forwarder);
  expect(framesOf(viewer, forwarder).at(-1)).toBe(99);
});

test.each([
  ['the publication does not keep pictures', { keepsGop: false, lost: false, frames: 50 }],
  ['a packet since then is missing for good', { keepsGop: true, lost: true, frames: 50 }],
  ['the key frame is too long ago', { keepsGop: true, lost: false, frames: 4_200 }],
])('no replay when %s', (_what, { keepsGop, lost, frames }) => {
  const publication = publish({ keepsGop });
  const source = new DeafSource();
  source.send({ key: true });
  source.send({ lost });
  for (let index = 0; index < frames; index += 1) {
    source.send();
  }
  const viewer = rig.client();
  const forwarder = subscribe(publication, viewer);
  source.send();
  rig.advance(1_000);
  expect(framesOf(viewer, forwarder)).toEqual([]);
  source.send({ key: true });
  expect(framesOf(viewer, forwarder)).toEqual([source.frame - 1]);
});

test('a recorder gets pictures only at their own time', () => {
  const publication = publish();
  const source = new DeafSource();
  source.group(50);
  const recorder = rig.client(200);
  const forwarder = subscribe(publication, recorder);
  source.send();
  rig.advance(400);
  expect(framesOf(recorder, forwarder)).toEqual([]);
});
