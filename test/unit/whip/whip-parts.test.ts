import { describe, expect, it } from 'vitest';
import { ServiceError } from '../../../services/base/errors.ts';
import { AddressLimiter } from '../../../services/ingress/servers/address-limiter.ts';
import { RequestRate } from '../../../services/ingress/servers/request-rate.ts';
import { parseWhipPath } from '../../../services/ingress/servers/whip-path.ts';
import { layersByRid } from '../../../services/model/track.ts';
import { parseSdpFragment, writeSdpFragment } from '../../../services/protocol/sdp-fragment.ts';
import { decodeTrackHints, encodeTrackHints, type TrackHints } from '../../../services/protocol/whip.ts';
import { InboundStream } from '../../../services/sfu/forwarding/inbound-stream.ts';
import { StreamInspector } from '../../../services/sfu/forwarding/stream-inspector.ts';
import { parseWhipOffer } from '../../../services/sfu/whip/whip-offer.ts';
import { SeededRandom } from '../../support/seeded-random.ts';
import { AUDIO, offerOf, VIDEO } from '../../support/whip-offers.ts';

describe('SDP fragments', () => {
  it('are read with session or section credentials', () => {
    const body =
      'a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 X 0\r\na=mid:0\r\na=candidate:1 1 udp 1 ::1 9 typ host\r\n';
    expect(parseSdpFragment(body)).toEqual({
      iceUfrag: 'EsAw',
      icePwd: 'P2uYro0UCOQ4zxjKXaWCBui1',
      fingerprint: '',
      candidates: ['candidate:1 1 udp 1 ::1 9 typ host'],
    });
  });

  it('are written so that they can be read', () => {
    const text = writeSdpFragment({
      iceUfrag: 'abcd',
      icePwd: '0123456789012345678901',
      candidates: ['candidate:1 1 udp 1 127.0.0.1 7882 typ host'],
      sections: [{ kind: 'audio', mid: '0', protocol: 'UDP/TLS/RTP/SAVPF' }],
    });
    expect(parseSdpFragment(text)).toMatchObject({ iceUfrag: 'abcd', candidates: [expect.any(String)] });
  });

  it.each(['<html>', 'a=ice-ufrag:x', 'a=ice-pwd:short', `a=candidate:1\r\n`.repeat(200)])(
    'refuses %j',
    (body) => {
      expect(() => parseSdpFragment(body)).toThrow(ServiceError);
    },
  );
});

it('offers of any bytes are parsed or refused, never anything else', () => {
  const random = new SeededRandom(9725);
  const offer = Buffer.from(offerOf([AUDIO, VIDEO]));
  let refused = 0;
  for (let i = 0; i < 3_000; i++) {
    const damaged = random.damage(offer).toString();
    try {
      parseWhipOffer(damaged);
      parseSdpFragment(damaged);
    } catch (error) {
      expect(error).toBeInstanceOf(ServiceError);
      expect((error as ServiceError).httpStatus).toBeLessThan(500);
      refused += 1;
    }
  }
  expect(refused).toBeGreaterThan(100);
});

describe('msids of an offer', () => {
  const withLines = (lines: readonly string[]): string => offerOf([AUDIO, { ...VIDEO, lines }]);

  it.each<[string, string[]]>([
    ['none', []],
    ['one, twice', ['a=msid:one a', 'a=msid:one a']],
    ['a track without a stream', ['a=msid:- a', 'a=ssrc:1 msid:- a', 'a=ssrc:2 msid:- a']],
    ['simulcast and RTX of one track', ['a=msid:s a', 'a=ssrc:1 msid:s a', 'a=ssrc:2 msid:s a']],
    ['another name at the sources', ['a=msid:s {a}', 'a=ssrc:1 cname:x', 'a=ssrc:1 msid:s a']],
    ['another stream than the sound', ['a=msid:two b']],
  ])('%s: taken', (_what, lines) => {
    const offer = offerOf([
      { ...AUDIO, lines: ['a=msid:one s'] },
      { ...VIDEO, lines },
    ]);
    expect(parseWhipOffer(offer).sections).toHaveLength(2);
  });

  it.each<[string, string[]]>([
    ['two streams', ['a=msid:one a', 'a=msid:two a']],
    ['two tracks', ['a=msid:one a', 'a=msid:one b']],
    ['two tracks of sources', ['a=msid:one a', 'a=ssrc:1 msid:one a', 'a=ssrc:2 msid:one b']],
    ['as many as fit', Array.from({ length: 1_000 }, (_, i) => `a=msid:s t${i}`)],
  ])('%s: refused with 422', (_what, lines) => {
    expect(() => parseWhipOffer(withLines(lines))).toThrow(
      expect.objectContaining({ httpStatus: 422, message: expect.stringContaining('a=msid') as string }),
    );
  });
});

describe('paths', () => {
  it.each([
    ['/w', { kind: 'endpoint', app: 'w', streamKey: '' }],
    ['/w/', { kind: 'endpoint', app: 'w', streamKey: '' }],
    ['/live/abcDEF?x=1', { kind: 'endpoint', app: 'live', streamKey: 'abcDEF' }],
    ['/w/resource/abc', { kind: 'session', app: 'w', id: 'abc' }],
    ['/health', { kind: 'health' }],
  ])('%s', (url, expected) => {
    expect(parseWhipPath(url)).toEqual(expected);
  });

  it.each(['/', '/w/../x', '/w/%2e', '/a/b/c', '/a/resource/b/c', `/${'x'.repeat(200)}`, 'w', '/w/a b'])(
    '%s is refused',
    (url) => {
      expect(() => parseWhipPath(url)).toThrow(ServiceError);
    },
  );
});

describe('track hints', () => {
  const hints: TrackHints = {
    audio: { name: 'Ton – 音', source: 'microphone' },
    video: { name: '', source: 'screen_share' },
  };

  it('survive a header', () => {
    expect(encodeTrackHints(hints)).toMatch(/^[\w-]+$/);
    expect(decodeTrackHints(encodeTrackHints(hints))).toEqual(hints);
  });

  it.each([
    '',
    '{}',
    'bm9uc2Vuc2U',
    Buffer.from('{"audio":{"name":"x","source":"camera"}}').toString('base64url'),
  ])('refuse %j', (header) => {
    expect(() => decodeTrackHints(header)).toThrow(ServiceError);
  });
});

describe('limits per address', () => {
  it('let bursts through and then the sustained rate', () => {
    let nowMs = 0;
    const rate = new RequestRate({ burst: 2, perS: 1, nowMs: () => nowMs });
    expect([rate.take('a'), rate.take('a'), rate.take('a'), rate.take('b')]).toEqual([
      true,
      true,
      false,
      true,
    ]);
    nowMs = 1_000;
    expect([rate.take('a'), rate.take('a')]).toEqual([true, false]);
  });

  it('block an address that failed too often, for a minute', () => {
    let nowMs = 0;
    const limits = { maxConnections: 9, maxConnectionsPerAddress: 9, maxFailuresPerAddressPerMinute: 2 };
    const limiter = new AddressLimiter(limits, () => nowMs);
    limiter.fail('a');
    limiter.fail('a');
    expect([limiter.isBlocked('a'), limiter.isBlocked('b'), limiter.open('a')]).toEqual([
      true,
      false,
      undefined,
    ]);
    nowMs = 61_000;
    expect(limiter.isBlocked('a')).toBe(false);
  });
});

it('simulcast rids of strangers are ordered best first, those of LiveKit by name', () => {
  expect([...layersByRid(['0', '1', '2'])]).toEqual([
    ['0', 2],
    ['1', 1],
    ['2', 0],
  ]);
  expect([...layersByRid(['hi', 'lo'])]).toEqual([
    ['hi', 1],
    ['lo', 0],
  ]);
  expect([...layersByRid(['a', 'b', 'c', 'd'])]).toEqual([
    ['a', 2],
    ['b', 1],
    ['c', 0],
    ['d', 0],
  ]);
  expect([...layersByRid(['q', 'h', 'f'])]).toEqual([
    ['q', 0],
    ['h', 1],
    ['f', 2],
  ]);
});

describe('what arrives is measured from the history', () => {
  /** 640 × 360, constrained baseline. */
  const SPS = Buffer.from('6742c01ed900a02ff970110000030001000003003c0f162e48', 'hex');
  const stream = (): InboundStream =>
    new InboundStream({
      ssrc: 1,
      role: { kind: 'media', layer: 0, rid: '' },
      clockRateHz: 90_000,
      nack: false,
    });

  function arrive(into: InboundStream, frame: number, payload: Buffer): void {
    const sequence = into.onPacket(frame, frame * 3_000, payload.length, frame * 33);
    into.store(sequence, frame * 3_000, true, payload, undefined);
  }

  it.each([
    { how: 'alone', payload: SPS },
    {
      how: 'in a STAP-A',
      payload: Buffer.concat([Buffer.from([24, 0, SPS.length]), SPS, Buffer.from([0, 2, 0x68, 1])]),
    },
  ])('picture size of an SPS $how, and the rate', ({ payload }) => {
    const input = stream();
    const inspector = new StreamInspector('h264');
    expect(inspector.read(input)).toMatchObject({ width: 0, packets: 0, lastPacketMs: -Infinity });
    arrive(input, 0, payload);
    for (let frame = 1; frame <= 60; frame++) {
      arrive(input, frame, Buffer.from([0x41, 1, 2, 3]));
    }
    expect(inspector.read(input)).toMatchObject({
      width: 640,
      height: 360,
      framesPerSecond: 30,
      packets: 61,
    });
  });

  it('VP8 key frames tell their size', () => {
    const input = stream();
    const key = Buffer.from([0x10, 0x50, 0, 0, 0x9d, 1, 0x2a, 0x40, 1, 0xb4, 0]);
    arrive(input, 0, key);
    expect(new StreamInspector('vp8').read(input)).toMatchObject({ width: 320, height: 180 });
  });

  it('malformed parameter sets leave the size unknown', () => {
    const input = stream();
    arrive(input, 0, Buffer.from([0x67]));
    arrive(input, 1, Buffer.from([24, 0xff, 0xff, 0x67]));
    expect(new StreamInspector('h264').read(input)).toMatchObject({ width: 0, height: 0 });
  });
});
