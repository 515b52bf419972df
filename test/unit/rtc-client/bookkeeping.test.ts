import {
  DataPacket,
  ParticipantInfo,
  ParticipantInfo_Kind,
  ParticipantInfo_State,
  SimulcastCodecInfo,
  TrackInfo,
  TrackSource,
  TrackType,
  UserPacket,
  VideoLayer,
} from '@livekit/protocol';
import { describe, expect, it } from 'vitest';
import { parseSdp, writeSdp, EXTENSION_URI } from '../../../services/protocol/sdp.ts';
import { publishCodecs } from '../../../services/rtc-client/codec-offer.ts';
import { DataMessages } from '../../../services/rtc-client/data-messages.ts';
import { FormatDetector } from '../../../services/rtc-client/format-detector.ts';
import {
  MediaSections,
  receiveSections,
  sendAgreement,
} from '../../../services/rtc-client/media-sections.ts';
import { Negotiator } from '../../../services/rtc-client/negotiator.ts';
import { Participants } from '../../../services/rtc-client/participants.ts';
import {
  ReceiveEstimate,
  TransportFeedbackCollector,
} from '../../../services/rtc-client/bandwidth-feedback.ts';
import { parseRtcp } from '../../../services/media/rtp/rtcp.ts';
import { writeRtpHeader } from '../../../services/media/rtp/rtp-header.ts';

function participants() {
  const log: string[] = [];
  const registry = new Participants({
    joined: ({ identity, kind }) => log.push(`joined ${identity} ${kind}`),
    left: ({ sid }) => log.push(`left ${sid}`),
    trackPublished: ({ trackSid }) => log.push(`published ${trackSid}`),
    trackUnpublished: ({ trackSid }) => log.push(`unpublished ${trackSid}`),
    trackMuted: ({ trackSid }, muted) => log.push(`${muted ? 'muted' : 'unmuted'} ${trackSid}`),
  });
  return { log, registry };
}

const camera = (fields: Partial<TrackInfo> = {}): TrackInfo =>
  new TrackInfo({
    sid: 'TR_1',
    type: TrackType.VIDEO,
    source: TrackSource.CAMERA,
    mimeType: 'video/VP8',
    ...fields,
  });

function info(fields: Partial<ParticipantInfo> = {}): ParticipantInfo {
  return new ParticipantInfo({
    sid: 'PA_1',
    identity: 'alice',
    state: ParticipantInfo_State.ACTIVE,
    version: 1,
    ...fields,
  });
}

describe('Participants', () => {
  it('tells what changed, once', () => {
    const { log, registry } = participants();
    registry.update([info({ kind: ParticipantInfo_Kind.INGRESS })]);
    registry.update([info({ version: 2, tracks: [camera()] })]);
    registry.update([info({ version: 2, tracks: [camera()] })]);
    registry.update([info({ version: 3, tracks: [camera({ muted: true })] })]);
    registry.update([info({ version: 4 })]);
    registry.update([info({ version: 5, state: ParticipantInfo_State.DISCONNECTED })]);
    expect(log).toEqual([
      'joined alice ingress',
      'published TR_1',
      'muted TR_1',
      'unpublished TR_1',
      'left PA_1',
    ]);
  });

  it('ignores updates that were overtaken', () => {
    const { log, registry } = participants();
    registry.update([info({ version: 7, tracks: [camera()] })]);
    registry.update([info({ version: 6 })]);
    expect(log).toEqual(['joined alice standard', 'published TR_1']);
  });

  it('takes the same identity in a new session for a replacement', () => {
    const { log, registry } = participants();
    registry.update([info({ tracks: [camera()] })]);
    registry.update([info({ sid: 'PA_2', tracks: [camera({ sid: 'TR_2' })] })]);
    expect(log.slice(2)).toEqual([
      'unpublished TR_1',
      'left PA_1',
      'joined alice standard',
      'published TR_2',
    ]);
  });

  it('forgets after a restart whoever is not there any more', () => {
    const { log, registry } = participants();
    registry.update([info(), info({ sid: 'PA_2', identity: 'bob' })]);
    registry.replaceAll([info({ sid: 'PA_2', identity: 'bob', version: 2 })]);
    expect(log.slice(2)).toEqual(['left PA_1']);
  });

  it('knows a track by its largest layer and by its codec, also when only the codec list has it', () => {
    const { registry } = participants();
    const layers = [
      new VideoLayer({ width: 320, height: 180 }),
      new VideoLayer({ width: 1280, height: 720 }),
    ];
    const tracks = [
      camera({ layers }),
      camera({ sid: 'TR_2', mimeType: '', codecs: [new SimulcastCodecInfo({ mimeType: 'video/H264' })] }),
      new TrackInfo({ sid: 'TR_3', type: TrackType.AUDIO, mimeType: 'audio/red' }),
      new TrackInfo({ sid: 'TR_4', type: TrackType.DATA }),
    ];
    registry.update([info({ tracks })]);
    expect(registry.tracks().map(({ codec, width, height }) => [codec, width, height])).toEqual([
      ['vp8', 1280, 720],
      ['h264', 0, 0],
      ['opus', 0, 0],
    ]);
  });
});

describe('MediaSections', () => {
  const transport = { iceUfrag: 'abcd', icePwd: 'p'.repeat(22), fingerprint: Array(32).fill('AB').join(':') };
  const source = { streamId: 's', trackId: 'cid', ssrc: 11, rtxSsrc: 12, cname: 'c' };

  it('offers data, receiving and sending sections that only ever grow', () => {
    const sections = new MediaSections({ audio: 1, video: 1 }, { receivesEveryCodec: false });
    const mid = sections.addSend({ kind: 'video', codecs: publishCodecs('h264', 1), source });
    sections.addReceive({ audio: 0, video: 1 });
    const offer = parseSdp(sections.offer(transport));
    expect(offer.media.map(({ kind, direction }) => `${kind} ${direction}`)).toEqual([
      'application sendrecv',
      'audio recvonly',
      'video recvonly',
      'video sendonly',
      'video recvonly',
    ]);
    expect(offer.setup).toBe('actpass');
    const sending = offer.media.find((section) => section.mid === mid);
    expect(sending?.sources).toEqual([{ ssrc: 11, rtxSsrc: 12 }]);
    expect(sending?.trackId).toBe('cid');
    expect(
      sending?.codecs.every(({ name, fmtp }) => name === 'H264' && fmtp.includes('packetization-mode=1')),
    ).toBe(true);
    sections.stopSend(mid);
    const next = parseSdp(sections.offer(transport));
    expect(next.media).toHaveLength(5);
    expect(next.media[3]?.direction).toBe('inactive');
  });

  it('offers simulcast by restriction ids, best first, without SSRCs', () => {
    const sections = new MediaSections({ audio: 0, video: 0 }, { receivesEveryCodec: false });
    const mid = sections.addSend({
      kind: 'video',
      codecs: publishCodecs('vp8', 1),
      source: { ...source, ssrc: 0, rtxSsrc: 0 },
      rids: ['f', 'h', 'q'],
    });
    const offered = parseSdp(sections.offer(transport)).media.find((section) => section.mid === mid);
    expect(offered?.sendRids).toEqual(['f', 'h', 'q']);
    expect(offered?.sources).toEqual([]);
    expect(offered?.trackId).toBe('cid');
    expect([...(offered?.extensions.keys() ?? [])]).toEqual(
      expect.arrayContaining([EXTENSION_URI.rid, EXTENSION_URI.repairedRid]),
    );
  });

  it('offers no payload type twice and the same extension ids everywhere', () => {
    const sections = new MediaSections({ audio: 2, video: 2 }, { receivesEveryCodec: false });
    for (const section of parseSdp(sections.offer(transport)).media) {
      const types = section.codecs
        .flatMap((codec) => [codec.payloadType, codec.rtxPayloadType])
        .filter(Boolean);
      expect(new Set(types).size).toBe(types.length);
      expect(section.extensions.get(EXTENSION_URI.mid) ?? 4).toBe(4);
    }
  });

  it('reads from the answer what is agreed, and nothing from a refusal', () => {
    const answer = (direction: 'recvonly' | 'inactive' | 'sendonly') =>
      parseSdp(
        writeSdp({
          sessionId: '1',
          version: 1,
          ...transport,
          iceLite: true,
          setup: 'passive',
          candidates: [],
          endOfCandidates: true,
          media: [
            {
              form: 'media',
              kind: 'video',
              mid: '3',
              protocol: 'UDP/TLS/RTP/SAVPF',
              direction,
              codecs: publishCodecs('vp8', 1),
              extensions: new Map([[EXTENSION_URI.transportCc, 3]]),
              ...(direction === 'sendonly' ? { source: { ...source, trackId: 'TR_x' } } : {}),
            },
          ],
        }),
      );
    expect(sendAgreement(answer('recvonly').media[0])).toEqual({
      payloadType: 96,
      rtxPayloadType: 97,
      extensions: { mid: 0, transportCc: 3, absSendTime: 0, rid: 0, repairedRid: 0 },
      rids: [],
    });
    expect(sendAgreement(answer('inactive').media[0])).toBeUndefined();
    expect(sendAgreement(undefined)).toBeUndefined();
    expect(receiveSections(answer('inactive'), { 3: 'TR_y' })).toEqual([]);
    expect(receiveSections(answer('sendonly'), { 3: 'TR_y' })).toMatchObject([
      { mid: '3', trackSid: 'TR_y', ssrc: 11, rtxSsrc: 12, transportCcId: 3 },
    ]);
    // Without the map the track is named by a=msid.
    expect(receiveSections(answer('sendonly'), {})[0]?.trackSid).toBe('TR_x');
  });
});

describe('Negotiator', () => {
  function negotiator() {
    const sent: number[] = [];
    const subject = new Negotiator({ createOffer: () => 'sdp', send: ({ id }) => sent.push(id) });
    return { sent, subject };
  }

  it('has one offer under way and puts what comes meanwhile into the next', async () => {
    const { sent, subject } = negotiator();
    expect(subject.initialOffer().id).toBe(1);
    const done: string[] = [];
    void subject.negotiate().then(() => done.push('a'));
    void subject.negotiate().then(() => done.push('b'));
    expect(sent).toEqual([]);
    expect(subject.accepts(9)).toBe(false);
    expect(subject.accepts(1)).toBe(true);
    subject.settle();
    await Promise.resolve();
    expect(sent).toEqual([2]);
    expect(done).toEqual([]);
    expect(subject.accepts(1)).toBe(false);
    subject.settle();
    await new Promise((resolve) => setImmediate(resolve));
    expect(done).toEqual(['a', 'b']);
    expect(subject.accepts(2)).toBe(false);
  });

  it('offers again when the answer was lost with its connection, keeping everybody who waits', async () => {
    const { sent, subject } = negotiator();
    const first = subject.negotiate();
    const again = subject.renegotiate();
    expect(sent).toEqual([1, 2]);
    expect(subject.accepts(1)).toBe(false);
    subject.settle();
    await Promise.all([first, again]);
    const hanging = subject.negotiate();
    subject.close('the end');
    await expect(hanging).rejects.toMatchObject({ code: 'aborted' });
  });
});

describe('DataMessages', () => {
  const packet = (sequence: number, fields: Partial<DataPacket> = {}): Uint8Array =>
    new DataPacket({
      participantSid: 'PA_1',
      participantIdentity: 'alice',
      sequence,
      value: { case: 'user', value: new UserPacket({ payload: Uint8Array.of(sequence), topic: 't' }) },
      ...fields,
    }).toBinary();

  it('gives user messages once, and nothing for anything else', () => {
    const messages = new DataMessages();
    expect(messages.read(packet(1))).toEqual({
      payload: Uint8Array.of(1),
      topic: 't',
      fromIdentity: 'alice',
    });
    expect(messages.read(packet(1))).toBeUndefined();
    expect(messages.read(packet(2))?.payload).toEqual(Uint8Array.of(2));
    expect(messages.read(packet(0))).toBeDefined();
    expect(messages.read(packet(3, { value: { case: undefined } }))).toBeUndefined();
    expect(messages.read(Uint8Array.of(0xff, 0xff, 0xff))).toBeUndefined();
  });
});

describe('FormatDetector', () => {
  const vp8Key = (width: number, height: number): Uint8Array =>
    Uint8Array.of(0x10, 0, 0, 0x9d, 1, 0x2a, width & 255, width >> 8, height & 255, height >> 8, 0);

  it('reports a size when it is new, and again when it changes', () => {
    const detector = new FormatDetector('vp8', { width: 0, height: 0 });
    expect(detector.changed(Uint8Array.of(0x11, 0, 0), false)).toBeUndefined();
    expect(detector.changed(vp8Key(640, 360), true)).toMatchObject({ width: 640, height: 360 });
    expect(detector.changed(vp8Key(640, 360), true)).toBeUndefined();
    expect(detector.changed(vp8Key(1280, 720), true)).toMatchObject({ width: 1280, height: 720 });
  });

  it('fixes the channels of Opus with the first packet', () => {
    const mono = new FormatDetector('opus', { width: 0, height: 0 });
    expect(mono.changed(Uint8Array.of(0x78, 1), true)).toMatchObject({ channels: 1, sampleRateHz: 48_000 });
    expect(mono.changed(Uint8Array.of(0x7c, 1), true)).toBeUndefined();
    const stereo = new FormatDetector('opus', { width: 0, height: 0 });
    expect(stereo.changed(Uint8Array.of(0x7c, 1), true)).toMatchObject({ channels: 2 });
  });

  it('survives a key frame without readable parameter sets', () => {
    const detector = new FormatDetector('h264', { width: 0, height: 0 });
    expect(detector.changed(Uint8Array.of(0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x65, 1), true)).toBeUndefined();
  });
});

describe('bandwidth feedback', () => {
  it('announces plenty, comes down with loss and recovers without it', () => {
    const estimate = new ReceiveEstimate();
    const plenty = estimate.bitrateBps;
    expect(plenty).toBeGreaterThanOrEqual(50_000_000);
    estimate.onInterval(128, 4000);
    const reduced = estimate.bitrateBps;
    expect(reduced).toBeLessThan(4_000_000);
    estimate.onInterval(15, 4000);
    expect(estimate.bitrateBps).toBe(reduced);
    for (let second = 0; second < 120; second += 1) {
      estimate.onInterval(0, 4000);
    }
    expect(estimate.bitrateBps).toBe(plenty);
  });

  it('reports arrivals and gaps of transport-wide numbers across the wrap, each once', () => {
    const collector = new TransportFeedbackCollector();
    const arrive = (sequence: number): void => {
      const packet = Buffer.alloc(40);
      const data = Buffer.of(sequence >>> 8, sequence & 0xff);
      writeRtpHeader(packet, {
        payloadType: 96,
        marker: false,
        sequenceNumber: 0,
        timestamp: 0,
        ssrc: 1,
        extensions: [{ id: 3, data }],
      });
      collector.onPacket(packet, 3);
    };
    const reported = (): [number, boolean][] =>
      collector.take(1, 2).flatMap((bytes) => {
        const [feedback] = parseRtcp(bytes);
        if (feedback?.type !== 'transport-cc') {
          throw new Error('not transport-cc');
        }
        return [...feedback.deltas].map((delta, index): [number, boolean] => [
          (feedback.baseSequence + index) & 0xffff,
          delta > -0x8000_0000,
        ]);
      });
    [65_534, 65_535, 1, 1].forEach(arrive);
    expect(reported()).toEqual([
      [65_534, true],
      [65_535, true],
      [0, false],
      [1, true],
    ]);
    [3, 2, 0].forEach(arrive);
    expect(reported()).toEqual([
      [2, true],
      [3, true],
    ]);
    expect(reported()).toEqual([]);
  });
});
