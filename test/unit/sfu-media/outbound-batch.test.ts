import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { buildNack } from '../../../services/media/rtp/rtcp-build.ts';
import { BATCH_LIMITS } from '../../../services/sfu/forwarding/outbound-batch.ts';
import type { Forwarder, NegotiatedCodec, Publication } from '../../../services/sfu/media-types.ts';
import { EXTENSION, MediaRig, vp8Fields, vp8Payload, type TestClient } from './media-rig.ts';

const VP8: NegotiatedCodec = { name: 'vp8', payloadType: 96, rtxPayloadType: 97, clockRateHz: 90_000 };
const BATCH_MS = 200;
/** The grain in which batches become due. */
const TICK_MS = 20;
const EXTENSION_BIT = 0x10;

let rig: MediaRig;
let publisher: TestClient;
let viewer: TestClient;
let recorder: TestClient;
let publication: Publication;
let toRecorder: Forwarder;
let frame: number;

beforeEach(() => {
  rig = new MediaRig();
  publisher = rig.client();
  viewer = rig.client();
  recorder = rig.client(BATCH_MS);
  frame = 0;
  publication = publisher.media.addPublication({
    mid: 'v',
    kind: 'video',
    codec: VP8,
    rids: [],
    layerByRid: new Map(),
    ssrcs: new Map(),
  });
  subscribe(viewer);
  toRecorder = subscribe(recorder);
});
afterEach(() => rig.close());

function subscribe(to: TestClient): Forwarder {
  const forwarder = to.media.createForwarder(publication);
  forwarder.bind({
    mid: 'x',
    payloadType: 100,
    rtxPayloadType: 101,
    absSendTimeId: 2,
    transportCcId: 3,
    dependencyDescriptorId: 0,
  });
  return forwarder;
}

/** Sends one-packet frames; each carries its number. */
function publish(frames: number, length = 20): void {
  for (let count = 0; count < frames; count += 1) {
    publisher.sendRtp(
      {
        payloadType: VP8.payloadType,
        marker: true,
        sequenceNumber: (1000 + frame) & 0xffff,
        timestamp: frame * 3000,
        ssrc: 1,
        extensions: [{ id: EXTENSION.mid, data: Buffer.from('v') }],
      },
      vp8Payload({ pictureId: frame, tl0: frame, key: frame === 0, frame, length }),
    );
    frame += 1;
  }
}

const framesOf = (client: TestClient): number[] =>
  client.rtp.filter(({ payloadType }) => payloadType === 100).map(({ payload }) => vp8Fields(payload).frame);
const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

describe('batched media', () => {
  it('comes in one burst, in order and unchanged, while others get theirs at once', () => {
    for (let count = 0; count < 5; count += 1) {
      publish(1);
      expect(framesOf(viewer)).toEqual(upTo(count + 1));
      rig.advance(30);
    }
    expect(framesOf(recorder)).toEqual([]);
    rig.advance(BATCH_MS - 5 * 30 + TICK_MS);
    expect(framesOf(recorder)).toEqual(upTo(5));
    // The next batch is counted from its own first packet.
    rig.advance(1000);
    publish(1);
    rig.advance(BATCH_MS - TICK_MS);
    expect(framesOf(recorder)).toHaveLength(5);
    rig.advance(2 * TICK_MS);
    expect(framesOf(recorder)).toEqual(upTo(6));
  });

  it('goes out as soon as a batch is full, by packets or by bytes', () => {
    publish(BATCH_LIMITS.packets - 1);
    expect(framesOf(recorder)).toEqual([]);
    publish(1);
    expect(framesOf(recorder)).toEqual(upTo(BATCH_LIMITS.packets));
    const large = Math.ceil(BATCH_LIMITS.bytes / 1200);
    expect(large).toBeLessThan(BATCH_LIMITS.packets);
    publish(large, 1200);
    expect(framesOf(recorder)).toEqual(upTo(BATCH_LIMITS.packets + large));
  });

  it('carries no send times, which would make a burst look like congestion', () => {
    publish(BATCH_LIMITS.packets);
    expect(recorder.datagrams.every((datagram) => ((datagram[0] ?? 0) & EXTENSION_BIT) === 0)).toBe(true);
    expect(viewer.datagrams.every((datagram) => ((datagram[0] ?? 0) & EXTENSION_BIT) !== 0)).toBe(true);
  });

  it('is repeated at once on a NACK, and what waits comes along', () => {
    recorder.loseDownlink = (datagram) => datagram.readUInt32BE(8) === toRecorder.ssrc && frame === 9;
    publish(8);
    rig.advance(BATCH_MS + TICK_MS);
    expect(framesOf(recorder)).toEqual(upTo(8));
    const next = ((recorder.rtp.at(-1)?.sequenceNumber ?? 0) + 1) & 0xffff;
    publish(1); // frame 8 is lost
    rig.advance(BATCH_MS + TICK_MS);
    publish(3);
    expect(framesOf(recorder)).toEqual(upTo(8));
    recorder.sendRtcp(buildNack(7, toRecorder.ssrc, [next]));
    expect(framesOf(recorder)).toEqual([...upTo(8), 9, 10, 11]);
    const repeat = recorder.rtp.at(-1);
    expect(repeat?.ssrc).toBe(toRecorder.rtxSsrc);
    expect(repeat?.payload.readUInt16BE(0)).toBe(next);
    expect(vp8Fields(repeat?.payload.subarray(2) ?? Buffer.alloc(20)).frame).toBe(8);
  });

  it('is not kept back when the subscription or the connection ends', () => {
    publish(3);
    recorder.media.removeForwarder(toRecorder);
    expect(framesOf(recorder)).toEqual(upTo(3));
    toRecorder = subscribe(recorder);
    publish(1);
    expect(framesOf(recorder)).toHaveLength(3);
    recorder.media.stop();
    rig.advance(1000);
    const sent = recorder.datagrams.length;
    publish(5);
    rig.advance(1000);
    expect(recorder.datagrams).toHaveLength(sent);
  });
});
