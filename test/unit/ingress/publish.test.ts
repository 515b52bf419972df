import { describe, expect, test } from 'vitest';
import { SafeEmitter } from '../../../services/base/events.ts';
import { createLogger } from '../../../services/base/logger.ts';
import { buildAvcConfig } from '../../../services/media/codecs/h264-avcc.ts';
import { joinLengthPrefixed, splitAnnexB } from '../../../services/media/codecs/h264.ts';
import { parseSps, type SpsInfo } from '../../../services/media/codecs/h264-sps.ts';
import type { IngressSettings, VideoTarget } from '../../../services/model/ingress.ts';
import type { EncodedPacket } from '../../../services/model/packet.ts';
import type { FlvVideo } from '../../../services/protocol/flv.ts';
import { AccessUnitAssembler } from '../../../services/ingress/publish/access-unit-assembler.ts';
import { EncoderClock, MonotonicTime } from '../../../services/ingress/publish/encoder-clock.ts';
import { PassthroughDecision } from '../../../services/ingress/publish/passthrough-decision.ts';
import { PublishedTrack } from '../../../services/ingress/publish/published-track.ts';
import { VideoPipeline } from '../../../services/ingress/publish/video-pipeline.ts';
import { h264Header } from '../../../services/ingress/publish/h264-bitstream.ts';
import { videoTranscodeArgs } from '../../../services/ingress/publish/video-transcoder-args.ts';
import { SPS } from '../../support/h264-samples.ts';

const nal = (...bytes: number[]): Uint8Array => Uint8Array.from(bytes);
const PPS = nal(0x68, 0xce, 0x3c, 0x80);
const IDR = nal(0x65, 0x88, 0x84, 0x21);
const P_SLICE = nal(0x41, 0x9a, 0x24);
const B_SLICE = nal(0x01, 0x9e, 0x24);
const SEI = nal(0x06, 0x05, 0x01, 0x80);
const AUD = nal(0x09, 0xf0);
const HD: VideoTarget = { width: 1280, height: 720, framerate: 30, bitrateKbps: 1_900 };
const VIDEO: IngressSettings['video'] = {
  name: '',
  source: 'unknown',
  target: HD,
  layers: [HD],
  codec: 'h264',
  targetIsLimit: false,
  mayTranscode: true,
};

describe('encoder clock', () => {
  test('starts at arrival, follows the encoder, wraps after 49 days without a step', () => {
    const clock = new EncoderClock();
    const start = 0xffff_ffff - 20;
    expect(clock.toSessionUs('video', start, 5_000_000)).toBe(5_000_000);
    expect(clock.toSessionUs('audio', start + 10, 5_300_000)).toBe(5_010_000);
    expect(clock.toSessionUs('video', (start + 40) >>> 0, 5_040_000)).toBe(5_040_000);
    expect(clock.jumps).toBe(0);
  });

  test('a stall and the burst after it change nothing', () => {
    const clock = new EncoderClock();
    clock.toSessionUs('video', 0, 0);
    expect(clock.toSessionUs('video', 33, 8_000_000)).toBe(33_000);
    expect(clock.toSessionUs('video', 8_000, 8_000_100)).toBe(8_000_000);
    expect(clock.jumps).toBe(0);
  });

  test.each([
    ['back to zero', 3_600_000, 0],
    ['an hour ahead', 1_000, 3_601_000],
  ])('a jump %s starts anew, and sound and picture stay together', (_case, before, after) => {
    const clock = new EncoderClock();
    clock.toSessionUs('video', before, 0);
    clock.toSessionUs('audio', before, 0);
    expect(clock.toSessionUs('video', after, 33_000)).toBe(33_000);
    // sound of the old time that was sent later
    expect(clock.toSessionUs('audio', before + 23, 34_000)).toBe(23_000);
    expect(clock.toSessionUs('audio', after + 13, 46_000)).toBe(46_000);
    expect(clock.toSessionUs('video', after + 33, 66_000)).toBe(66_000);
    expect(clock.jumps).toBe(1);
  });

  test('sound that starts late keeps its place', () => {
    const clock = new EncoderClock();
    clock.toSessionUs('video', 0, 0);
    clock.toSessionUs('video', 5_000, 5_000_000);
    expect(clock.toSessionUs('audio', 5_010, 5_020_000)).toBe(5_010_000);
  });

  test('repeated and falling times are repaired', () => {
    const time = new MonotonicTime();
    expect([10_000, 10_000, 5_000, 40_000].map((t) => time.next(t))).toEqual([
      10_000, 11_000, 12_000, 40_000,
    ]);
  });
});

describe('access units', () => {
  const configured = (): AccessUnitAssembler => {
    const assembler = new AccessUnitAssembler();
    assembler.configure(buildAvcConfig([SPS.baseline], [PPS]));
    return assembler;
  };
  const nalsOf = (data: Uint8Array | undefined): number[][] => splitAnnexB(data ?? nal()).map((n) => [...n]);

  test('parameter sets go before every key frame and only there', () => {
    const assembler = configured();
    const key = assembler.assemble(joinLengthPrefixed([AUD, SEI, IDR]));
    expect(key?.key).toBe(true);
    expect(nalsOf(key?.data)).toEqual([[...SPS.baseline], [...PPS], [...SEI], [...IDR]]);
    const next = assembler.assemble(joinLengthPrefixed([P_SLICE]));
    expect(next).toMatchObject({ key: false });
    expect(nalsOf(next?.data)).toEqual([[...P_SLICE]]);
  });

  test('every length size and unit that is left out gives the same access unit', () => {
    const expected = [[...SEI], [...P_SLICE]];
    const units = configured().assemble(joinLengthPrefixed([SEI, P_SLICE]));
    expect(nalsOf(units?.data)).toEqual(expected);
    expect(units?.nals.map((n) => [...n])).toEqual(expected);
    expect(nalsOf(configured().assemble(joinLengthPrefixed([AUD, SEI, nal(), P_SLICE]))?.data)).toEqual(
      expected,
    );
    const twoBytes = configured();
    const config = Buffer.from(buildAvcConfig([SPS.baseline], [PPS]));
    config[4] = 0xfd;
    twoBytes.configure(config);
    const short = nal(0, SEI.length, ...SEI, 0, P_SLICE.length, ...P_SLICE);
    expect(nalsOf(twoBytes.assemble(short)?.data)).toEqual(expected);
  });

  test('newer parameter sets inside the stream replace the old ones, and are not repeated', () => {
    const assembler = configured();
    const newPps = nal(0x68, 0xce, 0x3c, 0x81);
    const key = assembler.assemble(joinLengthPrefixed([SPS.baseline, newPps, IDR]));
    expect(nalsOf(key?.data)).toEqual([[...SPS.baseline], [...newPps], [...IDR]]);
    expect(nalsOf(assembler.assemble(joinLengthPrefixed([IDR]))?.data)[1]).toEqual([...newPps]);
  });

  test('several picture parameter sets are all kept', () => {
    const assembler = new AccessUnitAssembler();
    const second = nal(0x68, 0x5c, 0x3c, 0x80); // id 1 = "010"
    assembler.configure(buildAvcConfig([SPS.baseline], [PPS, second]));
    expect(nalsOf(assembler.assemble(joinLengthPrefixed([IDR]))?.data).slice(1, 3)).toEqual([
      [...PPS],
      [...second],
    ]);
  });

  test('nothing comes out before parameter sets, or of units without a picture', () => {
    expect(new AccessUnitAssembler().assemble(joinLengthPrefixed([IDR]))).toBeUndefined();
    expect(configured().assemble(joinLengthPrefixed([AUD, SEI]))).toBeUndefined();
  });
});

describe('passthrough decision', () => {
  const frames = (
    decision: PassthroughDecision,
    times: readonly [number, number][],
    slice = P_SLICE,
  ): string[] =>
    times.map(([dts, pts]) => {
      const verdict = decision.onFrame({ dtsUs: dts * 1000, ptsUs: pts * 1000, nals: [slice] });
      return verdict.mode === 'transcode' ? verdict.reason : verdict.mode;
    });
  const unsaid = (rest: Partial<SpsInfo> = {}): SpsInfo => ({
    ...parseSps(SPS.mainWithBFrames),
    maxReorderFrames: undefined,
    ...rest,
  });

  test.each([
    ['baseline', SPS.baseline, { mode: 'passthrough' }],
    ['B-frames', SPS.mainWithBFrames, { mode: 'transcode', reason: 'B-frames' }],
    ['4:2:2', SPS.high422, { mode: 'transcode', reason: '4:2:2 chroma' }],
    ['10 bit', SPS.high10, { mode: 'transcode', reason: '10-bit samples' }],
    ['interlaced', SPS.interlaced, { mode: 'transcode', reason: 'interlaced' }],
  ])('%s is told by the parameter set', (_case, sps, expected) => {
    expect(new PassthroughDecision(VIDEO).onHeader(h264Header(parseSps(sps)))).toEqual(expected);
  });

  test('high profile whose parameter set rules reordering out passes', () => {
    const decision = new PassthroughDecision(VIDEO);
    expect(decision.onHeader(h264Header(unsaid({ profileIdc: 100, maxReorderFrames: 0 }))).mode).toBe(
      'passthrough',
    );
  });

  test('left open, four frames in order pass; a constant composition offset is no reordering', () => {
    const decision = new PassthroughDecision(VIDEO);
    expect(decision.onHeader(h264Header(unsaid())).mode).toBe('undecided');
    expect(
      frames(decision, [
        [0, 66],
        [33, 99],
        [66, 132],
        [99, 165],
      ]),
    ).toEqual(['undecided', 'undecided', 'undecided', 'passthrough']);
  });

  test('left open, reordered times or a B slice mean transcoding', () => {
    const byTime = new PassthroughDecision(VIDEO);
    byTime.onHeader(h264Header(unsaid()));
    expect(
      frames(byTime, [
        [0, 66],
        [33, 165],
        [66, 99],
      ]).at(-1),
    ).toBe('B-frames');
    const bySlice = new PassthroughDecision(VIDEO);
    bySlice.onHeader(h264Header(unsaid()));
    expect(frames(bySlice, [[0, 0]], B_SLICE)).toEqual(['B-frames']);
  });

  test('a parameter set that lies is found out by the times; a clock that goes back is none of that', () => {
    const lying = new PassthroughDecision(VIDEO);
    lying.onHeader(h264Header(parseSps(SPS.baseline)));
    expect(
      frames(lying, [
        [0, 0],
        [33, 133],
        [66, 66],
      ]),
    ).toEqual(['passthrough', 'passthrough', 'B-frames']);
    const restarted = new PassthroughDecision(VIDEO);
    restarted.onHeader(h264Header(parseSps(SPS.baseline)));
    expect(
      frames(restarted, [
        [500, 500],
        [100, 100],
        [133, 133],
      ]),
    ).toEqual(Array(3).fill('passthrough'));
  });

  test('a requested size is a limit, either way up', () => {
    const target = { ...HD, width: 640, height: 360 };
    const decision = new PassthroughDecision({ ...VIDEO, target, targetIsLimit: true });
    expect(decision.onHeader(h264Header(parseSps(SPS.baseline)))).toEqual({
      mode: 'transcode',
      reason: '642x362 is larger than the requested 640x360',
    });
    const portrait = new PassthroughDecision({
      ...VIDEO,
      target: { ...target, width: 362, height: 642 },
      targetIsLimit: true,
    });
    expect(portrait.onHeader(h264Header(parseSps(SPS.baseline))).mode).toBe('passthrough');
  });
});

describe('video pipeline', () => {
  const config = (sps: Uint8Array): FlvVideo => ({
    packet: 'config',
    data: Buffer.from(buildAvcConfig([sps], [PPS])),
  });
  const frame = (...nals: Uint8Array[]): FlvVideo => ({
    packet: 'frame',
    key: false,
    compositionMs: 0,
    data: joinLengthPrefixed(nals),
  });

  function pipeline(): {
    video: VideoPipeline;
    packets: EncodedPacket[];
    formats: unknown[];
    verdicts: unknown[];
  } {
    const video = new VideoPipeline({
      settings: VIDEO,
      ffmpegPath: '/nonexistent',
      logger: createLogger({ level: 'silent' }),
    });
    const packets: EncodedPacket[] = [];
    const formats: unknown[] = [];
    const verdicts: unknown[] = [];
    video.events.on('packet', (packet) => packets.push(packet));
    video.events.on('format', (format) => formats.push(format));
    video.events.on('verdict', (verdict) => verdicts.push(verdict));
    return { video, packets, formats, verdicts };
  }

  test('frames before the first key frame and before the sequence header are left out', () => {
    const { video, packets, formats, verdicts } = pipeline();
    video.push(0, 'h264', frame(IDR));
    video.push(1_000, 'h264', config(SPS.baseline));
    video.push(2_000, 'h264', frame(P_SLICE));
    video.push(3_000, 'h264', frame(IDR));
    video.push(4_000, 'h264', frame(P_SLICE));
    expect(packets.map(({ ptsUs, key }) => [ptsUs, key])).toEqual([
      [3_000, true],
      [4_000, false],
    ]);
    expect(formats).toEqual([{ kind: 'video', codec: 'h264', width: 642, height: 362 }]);
    expect(verdicts).toEqual([{ mode: 'passthrough' }]);
  });

  test('B-frames that show up late pass until the next key frame, in rising time, and are transcoded from there', () => {
    const { video, packets, verdicts } = pipeline();
    video.push(0, 'h264', config(SPS.baseline));
    const at = (dtsMs: number, compositionMs: number, unit: Uint8Array): void => {
      const data = joinLengthPrefixed([unit]);
      video.push(dtsMs * 1_000, 'h264', { packet: 'frame', key: false, compositionMs, data });
    };
    at(0, 0, IDR);
    at(33, 66, P_SLICE);
    at(66, 0, B_SLICE);
    at(99, 0, P_SLICE);
    expect(verdicts).toEqual([{ mode: 'passthrough' }]);
    expect(packets.map(({ ptsUs }) => ptsUs)).toEqual([0, 99_000, 100_000, 101_000]);
    at(132, 0, IDR);
    at(165, 0, P_SLICE);
    expect(verdicts.at(-1)).toEqual({ mode: 'transcode', reason: 'B-frames' });
    expect(packets).toHaveLength(4);
  });

  test('a second, equal sequence header changes nothing; a lying one ends the session', () => {
    const { video, packets } = pipeline();
    video.push(0, 'h264', config(SPS.baseline));
    video.push(0, 'h264', config(SPS.baseline));
    video.push(0, 'h264', frame(IDR));
    expect(packets).toHaveLength(1);
    expect(() => {
      video.push(0, 'h264', { packet: 'config', data: Buffer.from([1, 66, 0, 30, 0xff, 0xe1, 0xff]) });
    }).toThrow('avcC');
    expect(() => {
      video.push(0, 'h264', {
        packet: 'frame',
        key: true,
        compositionMs: 0,
        data: Buffer.from([0, 0, 9, 9, 1]),
      });
    }).toThrow('longer than');
  });

  test('an ffmpeg that cannot run fails the session instead of hanging', async () => {
    const { video, verdicts } = pipeline();
    const failed = new Promise<Error>((resolve) => {
      video.events.on('failed', ({ error }) => {
        resolve(error);
      });
    });
    video.push(0, 'h264', config(SPS.mainWithBFrames));
    video.push(0, 'h264', frame(IDR));
    expect(verdicts).toEqual([{ mode: 'transcode', reason: 'B-frames' }]);
    expect((await failed).message).toContain('video transcoding');
    await video.close();
  });
});

describe('published track', () => {
  const packet = (kind: 'audio' | 'video', ptsUs: number, key = kind === 'audio'): EncodedPacket => ({
    kind,
    ptsUs,
    dtsUs: ptsUs,
    durationUs: 0,
    key,
    data: new Uint8Array(100),
  });
  const publisher = (written: number[]): Parameters<PublishedTrack['attach']>[0] => ({
    trackSid: 'TR_1',
    write: ({ ptsUs }) => written.push(ptsUs),
    setMuted: () => undefined,
    events: new SafeEmitter(),
    unpublish: () => Promise.resolve(),
  });

  test('video waits from its last key frame on', () => {
    const track = new PublishedTrack('video');
    const written: number[] = [];
    [packet('video', 1, true), packet('video', 2), packet('video', 3, true), packet('video', 4)].forEach(
      (p) => {
        track.write(p);
      },
    );
    track.attach(publisher(written));
    track.write(packet('video', 5));
    expect(written).toEqual([3, 4, 5]);
  });

  test('sound that waited long is left out; an endless group of pictures too', () => {
    const audio = new PublishedTrack('audio');
    const heard: number[] = [];
    for (let i = 0; i < 1_000; i++) {
      audio.write(packet('audio', i));
    }
    audio.attach(publisher(heard));
    expect(heard).toHaveLength(25);
    expect(heard.at(-1)).toBe(999);
    const video = new PublishedTrack('video');
    const seen: number[] = [];
    for (let i = 0; i < 10_000; i++) {
      video.write(packet('video', i, i === 0));
    }
    video.attach(publisher(seen));
    expect(seen.length).toBeLessThanOrEqual(600);
  });
});

test('the transcoder encodes every layer from the one above, each to a pipe of its own', () => {
  const layers = [
    { width: 320, height: 180, bitrateKbps: 237 },
    { width: 640, height: 360, bitrateKbps: 671 },
  ];
  const args = videoTranscodeArgs({ codec: 'h264', framerate: 30, layers });
  expect(args.filter((_, index) => args[index - 1] === '-b:v')).toEqual(['671k', '237k']);
  expect(args.filter((arg) => arg.startsWith('pipe:'))).toEqual(['pipe:0', 'pipe:3', 'pipe:1']);
  expect(args.at(args.indexOf('-profile:v') + 1)).toBe('baseline');
  expect(args.at(args.indexOf('-filter_complex') + 1)).toMatch(
    /\[0:v:0\].*w=640:h=360.*\[s0\]scale=w=320:h=180/,
  );
});
