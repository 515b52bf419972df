import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  buildNack,
  buildPli,
  buildReceiverReport,
  buildRemb,
  buildSenderReport,
} from '../../../services/media/rtp/rtcp-build.ts';
import { nowNtpUs, ntpFraction, ntpSeconds, ntpToUs } from '../../../services/media/rtp/ntp.ts';
import { sequenceDistance } from '../../../services/media/rtp/sequence.ts';
import type { Forwarder, NegotiatedCodec, Publication } from '../../../services/sfu/media-types.ts';
import { EXTENSION, MediaRig, vp8Fields, vp8Payload, type TestClient } from './media-rig.ts';
import { seededRandom } from '../rtp/seeded-random.ts';

// Work for the CPU, which others may have.
vi.setConfig({ testTimeout: 120_000 });

const VP8: NegotiatedCodec = { name: 'vp8', payloadType: 96, rtxPayloadType: 97, clockRateHz: 90_000 };
const OPUS: NegotiatedCodec = { name: 'opus', payloadType: 111, rtxPayloadType: 0, clockRateHz: 48_000 };
const LAYERS = new Map([
  ['q', 0],
  ['h', 1],
  ['f', 2],
]);
const RID_BY_LAYER = ['q', 'h', 'f'];

let rig: MediaRig;
let publisher: TestClient;
let subscriber: TestClient;

beforeEach(() => {
  rig = new MediaRig();
  publisher = rig.client();
  subscriber = rig.client();
});
afterEach(() => rig.close());

function publish(options: { mid?: string; simulcast?: boolean; codec?: NegotiatedCodec } = {}): Publication {
  const codec = options.codec ?? VP8;
  return publisher.media.addPublication({
    mid: options.mid ?? 'v',
    kind: codec === OPUS ? 'audio' : 'video',
    codec,
    rids: options.simulcast === true ? RID_BY_LAYER : [],
    layerByRid: LAYERS,
    ssrcs: new Map(),
  });
}

function subscribe(publication: Publication, rtx = true, to = subscriber): Forwarder {
  const forwarder = to.media.createForwarder(publication);
  forwarder.bind({
    mid: 'x',
    payloadType: 100,
    rtxPayloadType: rtx ? 101 : 0,
    absSendTimeId: 2,
    transportCcId: 3,
    dependencyDescriptorId: 0,
  });
  return forwarder;
}

/** One simulcast layer of a camera: its own SSRC, sequence, timestamps and picture ids. */
class LayerSource {
  sequence: number;
  pictureId: number;
  tl0 = 250;
  frame = 0;
  payloadLength = 20;
  readonly ssrc: number;
  readonly rid: string;
  readonly mid: string;
  readonly timestampBase: number;
  readonly #client: TestClient;

  constructor(
    client: TestClient,
    layer: number,
    options: { sequence?: number; mid?: string; plain?: boolean } = {},
  ) {
    this.#client = client;
    this.ssrc = 1000 + layer + (options.mid === undefined ? 0 : 500);
    this.rid = options.plain === true ? '' : (RID_BY_LAYER[layer] ?? '');
    this.mid = options.mid ?? 'v';
    this.sequence = options.sequence ?? 10_000 * (layer + 1);
    this.pictureId = 32_760 - layer * 1000;
    this.timestampBase = 4_294_900_000 - layer * 777_777;
  }

  timestamp(nowMs = performance.now()): number {
    return (this.timestampBase + Math.round(nowMs * 90)) >>> 0;
  }

  send(options: { key?: boolean; packets?: number; skip?: number[] } = {}): void {
    const packets = options.packets ?? 1;
    for (let index = 0; index < packets; index += 1) {
      const skip = options.skip?.includes(index) === true;
      this.sendOne(options.key === true, index === 0, index === packets - 1, skip);
    }
    this.pictureId += 1;
    this.tl0 += 1;
    this.frame += 1;
  }

  sendOne(key: boolean, start: boolean, marker: boolean, lost = false): void {
    const payload = vp8Payload({
      pictureId: this.pictureId,
      tl0: this.tl0,
      key,
      start,
      frame: this.frame,
      length: this.payloadLength,
    });
    if (!lost) {
      this.#client.sendRtp(this.#header(marker), payload);
    }
    this.sequence += 1;
  }

  padding(): void {
    this.#client.sendRtp(this.#header(false), Buffer.alloc(0), 50);
    this.sequence += 1;
  }

  repair(sequence: number, payload: Buffer, rtxSequence: number): void {
    const body = Buffer.alloc(payload.length + 2);
    body.writeUInt16BE(sequence & 0xffff, 0);
    payload.copy(body, 2);
    this.#client.sendRtp(
      {
        ...this.#header(true),
        payloadType: VP8.rtxPayloadType,
        ssrc: this.ssrc + 10_000,
        sequenceNumber: rtxSequence,
        extensions: [
          { id: EXTENSION.mid, data: Buffer.from(this.mid) },
          { id: EXTENSION.repairedRid, data: Buffer.from(this.rid) },
        ],
      },
      body,
    );
  }

  report(offsetUs = 0): void {
    const ntpUs = nowNtpUs() + offsetUs;
    this.#client.sendRtcp(
      buildSenderReport({
        ssrc: this.ssrc,
        ntpSeconds: ntpSeconds(ntpUs),
        ntpFraction: ntpFraction(ntpUs),
        rtpTimestamp: this.timestamp(),
        packetCount: 1,
        octetCount: 1,
        reports: [],
      }),
    );
  }

  #header(marker: boolean): Parameters<TestClient['sendRtp']>[0] {
    return {
      payloadType: VP8.payloadType,
      marker,
      sequenceNumber: this.sequence & 0xffff,
      timestamp: this.timestamp(),
      ssrc: this.ssrc,
      extensions: [
        { id: EXTENSION.mid, data: Buffer.from(this.mid) },
        ...(this.rid === '' ? [] : [{ id: EXTENSION.rid, data: Buffer.from(this.rid) }]),
      ],
    };
  }
}

function sequencesOf(client: TestClient, ssrc: number): number[] {
  return client.rtp.filter((packet) => packet.ssrc === ssrc).map(({ sequenceNumber }) => sequenceNumber);
}

function expectContinuous(sequences: number[]): void {
  for (let index = 1; index < sequences.length; index += 1) {
    expect(sequenceDistance(sequences[index] ?? 0, sequences[index - 1] ?? 0)).toBe(1);
  }
}

describe('layer switching', () => {
  it('goes on without a gap in sequence, time, PictureID and TL0PICIDX, at key frames only', () => {
    const publication = publish({ simulcast: true });
    const layers = [0, 1, 2].map(
      (layer) => new LayerSource(publisher, layer, { sequence: 65_000 + layer * 250 }),
    );
    for (const layer of layers) {
      layer.send();
    }
    const forwarder = subscribe(publication);
    const wanted = [2, 0, 1, 2, 0];
    for (const target of wanted) {
      forwarder.setMaxLayer(target);
      for (let frame = 0; frame < 30; frame += 1) {
        rig.advance(33);
        layers.forEach((layer, index) => {
          // The publisher answers a PLI a few frames later.
          const key = frame === 12 && index === target;
          layer.send({ key, packets: index + 1 });
        });
        if (frame === 11) {
          expect(forwarder.currentLayer).not.toBe(target);
        }
      }
      expect(forwarder.currentLayer).toBe(target);
    }
    const received = subscriber.rtp;
    expect(received.length).toBeGreaterThan(200);
    expectContinuous(received.map(({ sequenceNumber }) => sequenceNumber));
    let frames = 0;
    let sameMoment = 0;
    for (let index = 1; index < received.length; index += 1) {
      const [before, now] = [received[index - 1], received[index]];
      if (before === undefined || now === undefined || now.timestamp === before.timestamp) {
        continue;
      }
      frames += 1;
      const step = (now.timestamp - before.timestamp) | 0;
      // Switching upwards may show the same moment again in the better layer; time still moves on.
      sameMoment += step < 3 ? 1 : 0;
      expect(step).toBeGreaterThan(0);
      expect(step < 3 || Math.abs(step - 33 * 90) < 60).toBe(true);
      const [last, next] = [vp8Fields(before.payload), vp8Fields(now.payload)];
      expect((next.pictureId - last.pictureId) & 0x7fff).toBe(1);
      expect((next.tl0 - last.tl0) & 0xff).toBe(1);
      expect(before.marker).toBe(true);
    }
    expect(frames).toBeGreaterThan(120);
    expect(sameMoment).toBeLessThan(wanted.length);
    expect(publisher.rtcpOf('pli').length).toBeGreaterThanOrEqual(wanted.length);
  });

  it('falls back to the best layer that still runs, and climbs again when the higher one returns', () => {
    const publication = publish({ simulcast: true });
    const layers = [0, 1, 2].map((layer) => new LayerSource(publisher, layer));
    const run = (seconds: number, running: number[]): void => {
      for (let frame = 0; frame < seconds * 30; frame += 1) {
        rig.advance(33);
        for (const index of running) {
          layers[index]?.send({ key: frame % 20 === 0 });
        }
      }
    };
    run(1, [0, 1, 2]);
    const forwarder = subscribe(publication);
    run(2, [0, 1, 2]);
    expect(forwarder.currentLayer).toBe(2);
    run(3, [0, 1]);
    expect(forwarder.currentLayer).toBe(1);
    run(3, [2]);
    forwarder.setMaxLayer(0);
    run(3, [2]);
    // Only the top layer is sent: better than nothing although less was asked for.
    expect(forwarder.currentLayer).toBe(2);
    run(3, [0, 1, 2]);
    expect(forwarder.currentLayer).toBe(0);
    expectContinuous(sequencesOf(subscriber, forwarder.ssrc));
  });

  it('keeps two simulcast tracks with the same rids apart', () => {
    const camera = publish({ mid: 'cam', simulcast: true });
    const screen = publish({ mid: 'scr', simulcast: true });
    const cameraSource = new LayerSource(publisher, 0, { mid: 'cam' });
    const screenSource = new LayerSource(publisher, 0, { mid: 'scr' });
    Object.assign(screenSource, { ssrc: 4242 });
    cameraSource.send({ key: true });
    screenSource.send({ key: true });
    screenSource.send();
    expect(camera.layers().map(({ packets }) => packets)).toEqual([1]);
    expect(screen.layers().map(({ packets }) => packets)).toEqual([2]);
  });

  it('gives a receiver with too little bandwidth a lower layer, and tries a higher one later', () => {
    const publication = publish({ simulcast: true });
    const layers = [0, 1, 2].map((layer) => new LayerSource(publisher, layer));
    for (const layer of layers) {
      layer.payloadLength = 1000;
    }
    const forwarder = subscribe(publication);
    const run = (seconds: number, rembKbps: number): void => {
      for (let frame = 0; frame < seconds * 30; frame += 1) {
        rig.advance(33);
        layers.forEach((layer, index) => layer.send({ key: frame % 20 === 0, packets: 2 ** index }));
        if (frame % 30 === 29) {
          subscriber.sendRtcp(buildRemb(1, rembKbps * 1000, [forwarder.ssrc]));
        }
      }
    };
    run(3, 10_000);
    expect(forwarder.currentLayer).toBe(2);
    run(5, 300);
    expect(forwarder.currentLayer).toBe(0);
    run(40, 10_000);
    expect(forwarder.currentLayer).toBe(2);
    expectContinuous(sequencesOf(subscriber, forwarder.ssrc));
  });

  it('treats heavy loss in receiver reports as congestion', () => {
    const publication = publish({ simulcast: true });
    const layers = [0, 1, 2].map((layer) => new LayerSource(publisher, layer));
    for (const layer of layers) {
      layer.payloadLength = 1000;
    }
    const forwarder = subscribe(publication);
    for (let frame = 0; frame < 6 * 30; frame += 1) {
      rig.advance(33);
      layers.forEach((layer, index) => layer.send({ key: frame % 20 === 0, packets: 2 ** index }));
      if (frame % 30 === 0) {
        subscriber.sendRtcp(
          buildReceiverReport(1, [
            {
              ssrc: forwarder.ssrc,
              fractionLost: 100,
              cumulativeLost: 10,
              highestSequence: 1,
              jitter: 0,
              lastSenderReport: 0,
              delaySinceLastSenderReport: 0,
            },
          ]),
        );
      }
    }
    expect(forwarder.currentLayer).toBeLessThan(2);
    expect(forwarder.stats().fractionLost).toBeCloseTo(100 / 256);
  });
});

describe('loss', () => {
  it('asks the publisher for lost packets and puts the repairs in their places', () => {
    const publication = publish({ simulcast: true });
    const source = new LayerSource(publisher, 0, { sequence: 65_500 });
    const forwarder = subscribe(publication);
    const random = seededRandom(21);
    const lost = new Map<number, Buffer>();
    let rtxSequence = 1;
    source.send({ key: true });
    for (let frame = 1; frame < 400; frame += 1) {
      rig.advance(10);
      if (random() < 0.1) {
        lost.set(
          source.sequence & 0xffff,
          vp8Payload({ pictureId: source.pictureId, tl0: source.tl0, key: false, frame: source.frame }),
        );
        source.send({ skip: [0] });
      } else {
        source.send();
      }
      for (const nack of publisher.rtcpOf('nack')) {
        for (const sequence of nack.sequenceNumbers) {
          const payload = lost.get(sequence);
          if (payload !== undefined && random() < 0.8) {
            lost.delete(sequence);
            source.repair(sequence, payload, rtxSequence++);
          }
        }
      }
      publisher.rtcp.length = 0;
    }
    rig.advance(10);
    source.send();
    const frames = [...subscriber.rtp]
      .sort((a, b) => sequenceDistance(a.sequenceNumber, b.sequenceNumber))
      .map(({ payload }) => vp8Fields(payload).frame);
    const received = new Set(frames);
    expect(received.size).toBe(frames.length);
    // In sequence order the frames count up: repairs sit where the lost packets belong.
    expect(frames).toEqual([...frames].sort((a, b) => a - b));
    expect(received.size).toBeGreaterThan(395);
    expect(publication.layers()[0]?.lost).toBeGreaterThan(20);
    expect(forwarder.stats().packets).toBe(frames.length);
  });

  it('gives up on packets that never come, without asking for ever', () => {
    publish({ simulcast: true });
    const source = new LayerSource(publisher, 0);
    source.send({ key: true });
    source.send({ skip: [0] });
    source.send();
    rig.advance(10_000);
    const asked = publisher.rtcpOf('nack').length;
    expect(asked).toBeGreaterThan(3);
    expect(asked).toBeLessThanOrEqual(8);
  });

  it.each([
    ['over RTX', true],
    ['as the same bytes without RTX', false],
  ])('repeats packets to a receiver %s', (_name, rtx) => {
    const publication = publish();
    const source = new LayerSource(publisher, 0, { plain: true });
    const forwarder = subscribe(publication, rtx);
    // A second receiver whose picture ids are written into the same payload.
    const other = subscribe(publication, true, rig.client());
    const random = seededRandom(9);
    const missing = new Set<number>();
    subscriber.loseDownlink = (datagram) => {
      const sequence = datagram.readUInt16BE(2);
      const isMedia = datagram.readUInt32BE(8) === forwarder.ssrc;
      if (isMedia && !missing.has(sequence) && random() < 0.15) {
        missing.add(sequence);
        return true;
      }
      return false;
    };
    for (let frame = 0; frame < 300; frame += 1) {
      rig.advance(20);
      source.send({ key: frame === 0 });
      other.setPaused(frame % 50 > 40);
      const due = [...missing];
      if (frame % 5 === 4 && due.length > 0) {
        subscriber.sendRtcp(buildNack(1, forwarder.ssrc, due));
        missing.clear();
      }
    }
    const frames = new Map<number, { pictureId: number; frame: number }>();
    for (const { ssrc, payload, sequenceNumber } of subscriber.rtp) {
      const repaired = ssrc === forwarder.rtxSsrc;
      expect(repaired || ssrc === forwarder.ssrc).toBe(true);
      frames.set(
        repaired ? payload.readUInt16BE(0) : sequenceNumber,
        vp8Fields(repaired ? payload.subarray(2) : payload),
      );
    }
    const ordered = [...frames].sort(([a], [b]) => sequenceDistance(a, b)).map(([, fields]) => fields);
    expect(ordered.length).toBeGreaterThanOrEqual(295);
    for (let index = 1; index < ordered.length - 5; index += 1) {
      const [before, now] = [ordered[index - 1], ordered[index]];
      expect((now?.frame ?? 0) - (before?.frame ?? 0)).toBe(1);
      expect(((now?.pictureId ?? 0) - (before?.pictureId ?? 0)) & 0x7fff).toBe(1);
    }
    expect(forwarder.stats().resent).toBeGreaterThan(20);
  });

  it('bounds what a flood of NACKs can make it send', () => {
    const publication = publish();
    const source = new LayerSource(publisher, 0, { plain: true });
    const forwarder = subscribe(publication);
    source.send({ key: true });
    const [first] = sequencesOf(subscriber, forwarder.ssrc);
    for (let round = 0; round < 5000; round += 1) {
      subscriber.sendRtcp(buildNack(1, forwarder.ssrc, [first ?? 0]));
    }
    expect(forwarder.stats().resent).toBeLessThanOrEqual(1000);
  });

  it('squeezes probing padding out of the sequence', () => {
    const publication = publish();
    const source = new LayerSource(publisher, 0, { plain: true, sequence: 65_530 });
    const forwarder = subscribe(publication);
    for (let frame = 0; frame < 50; frame += 1) {
      rig.advance(33);
      source.send({ key: frame === 0 });
      for (let count = 0; count < frame % 4; count += 1) {
        source.padding();
      }
    }
    const sequences = sequencesOf(subscriber, forwarder.ssrc);
    expect(sequences).toHaveLength(50);
    expectContinuous(sequences);
  });
});

describe('reports', () => {
  it('keeps audio and video of one publisher in sync although its clock is wrong and layers change', () => {
    const video = publish({ simulcast: true });
    const audio = publish({ mid: 'a', codec: OPUS });
    const layers = [0, 1].map((layer) => new LayerSource(publisher, layer));
    const forwarders = [subscribe(video), subscribe(audio)];
    const audioTimestamp = (): number => (123_456 + Math.round(performance.now() * 48)) >>> 0;
    const clockErrorUs = -3_600_000_000;
    let sequence = 5;
    for (let frame = 0; frame < 300; frame += 1) {
      rig.advance(20);
      forwarders[0]?.setMaxLayer(frame < 150 ? 0 : 1);
      layers.forEach((layer) => {
        layer.send({ key: frame % 25 === 0 });
        if (frame % 40 === 0) {
          layer.report(clockErrorUs);
        }
      });
      publisher.sendRtp(
        {
          payloadType: OPUS.payloadType,
          marker: false,
          sequenceNumber: sequence++,
          timestamp: audioTimestamp(),
          ssrc: 77,
          extensions: [{ id: EXTENSION.mid, data: Buffer.from('a') }],
        },
        Buffer.from([0xfc, 1, 2]),
      );
      if (frame % 45 === 0) {
        const ntpUs = nowNtpUs() + clockErrorUs;
        publisher.sendRtcp(
          buildSenderReport({
            ssrc: 77,
            ntpSeconds: ntpSeconds(ntpUs),
            ntpFraction: ntpFraction(ntpUs),
            rtpTimestamp: audioTimestamp(),
            packetCount: 1,
            octetCount: 1,
            reports: [],
          }),
        );
      }
    }
    expect(forwarders[0]?.currentLayer).toBe(1);
    // Where the receiver would play the last packets of both: their capture time by the latest report.
    const captureUs = forwarders.map(({ ssrc }, index) => {
      const clockRate = index === 0 ? 90_000 : 48_000;
      const report = subscriber
        .rtcpOf('sr')
        .filter((sr) => sr.ssrc === ssrc)
        .at(-1);
      const packet = subscriber.rtp.filter((rtp) => rtp.ssrc === ssrc).at(-1);
      expect(report).toBeDefined();
      const ticks = ((packet?.timestamp ?? 0) - (report?.rtpTimestamp ?? 0)) | 0;
      return ntpToUs(report?.ntpSeconds ?? 0, report?.ntpFraction ?? 0) + (ticks * 1_000_000) / clockRate;
    });
    expect(Math.abs((captureUs[0] ?? 0) - (captureUs[1] ?? 0))).toBeLessThan(2_000);
    // In our clock, not the publisher's: receivers measure the round trip with it.
    expect(Math.abs((captureUs[0] ?? 0) - nowNtpUs())).toBeLessThan(100_000);
  });

  it('sends a receiver its first two reports early, as soon as the publisher has told its clock', () => {
    const video = publish({ simulcast: true });
    const source = new LayerSource(publisher, 0);
    source.send({ key: true });
    source.report();
    rig.advance(1500);
    const { ssrc } = subscribe(video);
    source.send({ key: true });
    rig.advance(20);
    const [first, ...more] = subscriber.rtcpOf('sr');
    expect(more).toEqual([]);
    expect(first?.ssrc).toBe(ssrc);
    const packet = subscriber.rtp.find((rtp) => rtp.ssrc === ssrc);
    expect(Math.abs(((first?.rtpTimestamp ?? 0) - (packet?.timestamp ?? 0)) | 0)).toBeLessThan(90 * 40);

    rig.advance(320);
    expect(subscriber.rtcpOf('sr')).toHaveLength(2);
    rig.advance(320);
    expect(subscriber.rtcpOf('sr')).toHaveLength(2);

    const silent = publish({ mid: 'late', codec: OPUS });
    const late = subscribe(silent);
    const header = { payloadType: OPUS.payloadType, marker: false, ssrc: 78 };
    const extensions = [{ id: EXTENSION.mid, data: Buffer.from('late') }];
    publisher.sendRtp({ ...header, extensions, sequenceNumber: 1, timestamp: 960 }, Buffer.from([0xfc, 1]));
    rig.advance(40);
    const reportsOf = (): number => subscriber.rtcpOf('sr').filter((sr) => sr.ssrc === late.ssrc).length;
    expect(reportsOf()).toBe(0);
    const ntpUs = nowNtpUs();
    const time = { ntpSeconds: ntpSeconds(ntpUs), ntpFraction: ntpFraction(ntpUs), rtpTimestamp: 960 };
    publisher.sendRtcp(buildSenderReport({ ssrc: 78, ...time, packetCount: 1, octetCount: 1, reports: [] }));
    rig.advance(20);
    expect(reportsOf()).toBe(1);
  });

  it('reports reception to the publisher', () => {
    publish({ simulcast: true });
    const source = new LayerSource(publisher, 0, { sequence: 65_530 });
    source.send({ key: true });
    source.report();
    rig.advance(1000);
    publisher.rtcp.length = 0;
    for (let frame = 0; frame < 20; frame += 1) {
      source.send(frame % 4 === 3 ? { skip: [0] } : {});
    }
    source.send();
    rig.advance(1000);
    const report = publisher.rtcpOf('rr').at(-1)?.reports[0];
    expect(report).toMatchObject({
      ssrc: source.ssrc,
      cumulativeLost: 5,
      fractionLost: Math.floor((5 * 256) / 21),
      highestSequence: source.sequence - 1,
    });
    expect(report?.lastSenderReport).not.toBe(0);
  });

  it('sends transport-wide feedback for everything that carries a number, across the wrap', () => {
    publish({ simulcast: true });
    const COUNT = 202;
    const told = new Set<number>();
    for (let index = 0; index < COUNT; index += 1) {
      const number = (65_450 + index) & 0xffff;
      if (index % 7 !== 3) {
        publisher.sendRtp(
          {
            payloadType: 96,
            marker: true,
            sequenceNumber: index,
            timestamp: index * 3000,
            ssrc: 900 + (index % 3),
            extensions: [
              { id: EXTENSION.mid, data: Buffer.from('v') },
              { id: EXTENSION.rid, data: Buffer.from(RID_BY_LAYER[index % 3] ?? '') },
              { id: EXTENSION.transportCc, data: Buffer.from([number >>> 8, number & 0xff]) },
            ],
          },
          vp8Payload({ pictureId: index, tl0: 0, key: true, frame: index }),
        );
      }
      rig.advance(10);
    }
    rig.advance(100);
    let received = 0;
    for (const feedback of publisher.rtcpOf('transport-cc')) {
      feedback.deltas.forEach((delta, offset) => {
        const index = (feedback.baseSequence + offset - 65_450) & 0xffff;
        const arrived = delta > -0x8000_0000;
        expect(arrived).toBe(index % 7 !== 3);
        expect(told.has(index)).toBe(false);
        told.add(index);
        received += arrived ? 1 : 0;
      });
    }
    expect(told.size).toBe(COUNT);
    expect(received).toBe(COUNT - Math.ceil((COUNT - 3) / 7));
  });

  it('passes key frame requests on, but not more than the encoder can follow', () => {
    const publication = publish();
    const source = new LayerSource(publisher, 0, { plain: true });
    const forwarder = subscribe(publication);
    source.send({ key: true });
    rig.advance(1000);
    publisher.rtcp.length = 0;
    for (let count = 0; count < 20; count += 1) {
      subscriber.sendRtcp(buildPli(1, forwarder.ssrc));
      rig.advance(50);
    }
    expect(publisher.rtcpOf('pli').length).toBe(2);
    expect(forwarder.stats().plis).toBe(20);
  });

  it('hands out the loudest audio level since the last call', () => {
    const audio = publish({ mid: 'a', codec: OPUS });
    [60, 12, 90].forEach((level, index) => {
      publisher.sendRtp(
        {
          payloadType: OPUS.payloadType,
          marker: false,
          sequenceNumber: index,
          timestamp: index * 960,
          ssrc: 77,
          extensions: [
            { id: EXTENSION.mid, data: Buffer.from('a') },
            { id: EXTENSION.audioLevel, data: Buffer.from([0x80 | level]) },
          ],
        },
        Buffer.from([0xfc]),
      );
    });
    expect(audio.takeAudioLevel()).toBe(12);
    expect(audio.takeAudioLevel()).toBeUndefined();
  });
});

describe('an authenticated client that sends nonsense', () => {
  it('breaks nothing, and others are still served', () => {
    const publication = publish({ simulcast: true });
    const plain = publish({ mid: 'p' });
    const forwarders = [subscribe(publication), subscribe(plain), subscribe(publication, false)];
    const random = seededRandom(99);
    const bytes = (length: number): Buffer =>
      Buffer.from(Array.from({ length }, () => Math.floor(random() * 256)));
    const source = new LayerSource(publisher, 0, { mid: 'p', plain: true });
    source.send({ key: true });
    let sequence = 1;
    for (let round = 0; round < 4000; round += 1) {
      const packet = bytes(24 + Math.floor(random() * 60));
      packet[0] = 0x80 | (Math.floor(random() * 64) & 0x37);
      packet[1] = Math.floor(random() * 2) === 0 ? 96 : 97;
      // A few SSRCs in order, so that the packets get past replay protection.
      packet.writeUInt16BE(sequence & 0xffff, 2);
      packet.writeUInt32BE([3, 4, 5, 6][round % 4] ?? 0, 8);
      sequence += 1;
      if (random() < 0.7) {
        packet.writeUInt16BE(0xbede, 12);
        packet.writeUInt16BE(2, 14);
        Buffer.from([0x10, 0x76, 0x20, 0x71, 0, 0, 0, 0]).copy(packet, 16);
        packet[0] = 0x90;
      }
      publisher.sendRaw(packet);
      const rtcp = bytes(8 + 4 * Math.floor(random() * 10));
      rtcp[0] = 0x80 | (Math.floor(random() * 32) & 0x1f);
      rtcp[1] = 200 + Math.floor(random() * 7);
      rtcp.writeUInt16BE(rtcp.length / 4 - 1, 2);
      if (random() < 0.5 && rtcp.length >= 12) {
        rtcp.writeUInt32BE(forwarders[round % 3]?.ssrc ?? 0, 8);
      }
      subscriber.sendRtcp(rtcp);
      publisher.sendRtcp(rtcp);
      if (round % 50 === 0) {
        rig.advance(20);
      }
    }
    const before = forwarders[1]?.stats().packets ?? 0;
    rig.advance(2000);
    for (let frame = 0; frame < 5; frame += 1) {
      rig.advance(33);
      source.send({ key: true });
    }
    expect(forwarders[1]?.stats().packets).toBe(before + 5);
    expect(publication.layers()[0]?.packets).toBeGreaterThan(500);
  });
});
