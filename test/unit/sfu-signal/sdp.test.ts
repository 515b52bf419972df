import { describe, expect, it } from 'vitest';
import { ServiceError } from '../../../services/base/errors.ts';
import {
  EXTENSION_URI,
  parseSdp,
  SDP_LIMITS,
  writeSdp,
  type SdpSpec,
} from '../../../services/protocol/sdp.ts';
import { PLACEHOLDERS, PUBLISH, PUBLISH_TRACK_IDS } from './offers/offers.ts';

function refusal(sdp: string): string {
  try {
    parseSdp(sdp);
  } catch (error) {
    expect(error).toBeInstanceOf(ServiceError);
    expect((error as ServiceError).code).toBe('invalid_argument');
    return (error as ServiceError).message;
  }
  throw new Error('the SDP was accepted');
}

describe('parseSdp', () => {
  it('reads what Chromium offers before it publishes', () => {
    const offer = parseSdp(PLACEHOLDERS);
    expect(offer.media.map(({ kind, direction }) => [kind, direction])).toEqual([
      ['audio', 'recvonly'],
      ['audio', 'recvonly'],
      ['audio', 'recvonly'],
      ['video', 'recvonly'],
      ['video', 'recvonly'],
      ['video', 'recvonly'],
      ['application', 'sendrecv'],
    ]);
    expect(offer.setup).toBe('actpass');
    expect(offer.fingerprint).toMatch(/^([0-9A-F]{2}:){31}[0-9A-F]{2}$/);
    expect(offer.iceUfrag).not.toBe('');
    const video = offer.media[3];
    expect(video?.extensions.has(EXTENSION_URI.transportCc)).toBe(true);
    const vp8 = video?.codecs.find(({ name }) => name === 'VP8');
    expect(vp8).toMatchObject({ payloadType: 96, rtxPayloadType: 97, clockRateHz: 90000 });
    expect(vp8?.feedback).toContain('nack pli');
    expect(offer.media[0]?.codecs[0]).toMatchObject({ name: 'opus', channels: 2, clockRateHz: 48000 });
  });

  it('reads published tracks, simulcast rids and RTX sources', () => {
    const offer = parseSdp(PUBLISH);
    const simulcast = offer.media.find(({ trackId }) => trackId === PUBLISH_TRACK_IDS.simulcast);
    expect(simulcast?.sendRids).toEqual(['q', 'h', 'f']);
    const plain = offer.media.find(({ trackId }) => trackId === PUBLISH_TRACK_IDS.plain);
    expect(plain?.sendRids).toEqual([]);
    expect(plain?.sources).toHaveLength(1);
    expect(plain?.sources[0]?.rtxSsrc).toBeGreaterThan(0);
  });

  it('keeps bundle-only sections and rejects stopped ones', () => {
    const stopped = PLACEHOLDERS.replace('m=audio 9', 'm=audio 0');
    expect(parseSdp(stopped).media[0]?.rejected).toBe(true);
    const bundleOnly = stopped.replace('a=mid:0', 'a=mid:0\r\na=bundle-only');
    expect(parseSdp(bundleOnly).media[0]?.rejected).toBe(false);
  });

  it('refuses what it cannot use, and says why', () => {
    expect(refusal('')).toContain('v=0');
    expect(refusal('\u0000\u0001garbage')).toContain('v=0');
    expect(refusal('v=0\r\n')).toContain('ice-ufrag');
    expect(refusal(PLACEHOLDERS.replace(/a=fingerprint.*\r\n/g, ''))).toContain('fingerprint');
    expect(refusal(PLACEHOLDERS.replace('a=mid:1', 'a=mid:0'))).toContain('same a=mid');
    expect(refusal(PLACEHOLDERS.replace('a=mid:1\r\n', ''))).toContain('no a=mid');
    expect(refusal(PLACEHOLDERS.replace('m=audio 9', 'm=audio 70000'))).toContain('port');
    expect(refusal(PLACEHOLDERS.replace(/a=extmap:1 /, 'a=extmap:999 '))).toContain('extmap');
    expect(refusal(PLACEHOLDERS.replace('a=rtpmap:96 VP8/90000', 'a=rtpmap:96 VP8/-1'))).toContain(
      'clock rate',
    );
  });

  it('refuses what is too large', () => {
    expect(refusal('v=0\r\n' + 'a=x:y\r\n'.repeat(200_000))).toContain('bytes');
    expect(refusal(`v=0\r\na=${'x'.repeat(SDP_LIMITS.maxLineBytes + 1)}`)).toContain('line');
    const sections = Array.from({ length: 513 }, (_, mid) => `m=audio 9 X 111\r\na=mid:${mid}\r\n`).join('');
    expect(refusal('v=0\r\n' + sections)).toContain('512 media sections');
    const formats = Array.from({ length: 200 }, (_, format) => format % 128).join(' ');
    expect(refusal(`v=0\r\nm=video 9 X ${formats}\r\n`)).toContain('formats');
    const sources = Array.from({ length: 65 }, (_, ssrc) => `a=ssrc:${ssrc + 1} cname:x\r\n`).join('');
    expect(refusal(`v=0\r\nm=video 9 X 96\r\na=mid:0\r\n${sources}`)).toContain('SSRCs');
  });

  it('never throws anything else, whatever the bytes', () => {
    let seed = 42;
    const random = (below: number): number => {
      seed = (seed * 1103515245 + 12345) % 2147483648;
      return seed % below;
    };
    const lines = PUBLISH.split('\r\n');
    for (let round = 0; round < 400; round += 1) {
      const mutated = lines.map((line) => {
        const action = random(40);
        return action === 0
          ? ''
          : action === 1
            ? line.slice(0, random(line.length + 1))
            : action === 2
              ? line + ' ' + String(random(1e9))
              : action === 3
                ? (lines[random(lines.length)] ?? '')
                : line;
      });
      try {
        parseSdp(mutated.join('\r\n'));
      } catch (error) {
        expect(error).toBeInstanceOf(ServiceError);
      }
    }
  });
});

describe('writeSdp', () => {
  it('writes what parseSdp reads back', () => {
    const spec: SdpSpec = {
      sessionId: '1',
      version: 2,
      iceUfrag: 'abcd',
      icePwd: 'a-password-of-22-chars',
      iceLite: true,
      fingerprint: Array.from({ length: 32 }, () => 'AB').join(':'),
      setup: 'passive',
      candidates: ['candidate:1 1 udp 1 127.0.0.1 7882 typ host'],
      endOfCandidates: true,
      media: [
        {
          form: 'media',
          kind: 'video',
          mid: '0',
          protocol: 'UDP/TLS/RTP/SAVPF',
          direction: 'sendonly',
          codecs: [
            {
              payloadType: 96,
              name: 'H264',
              clockRateHz: 90000,
              channels: 1,
              fmtp: 'packetization-mode=1;profile-level-id=42e01f',
              feedback: ['nack', 'nack pli'],
              rtxPayloadType: 97,
            },
          ],
          extensions: new Map([[EXTENSION_URI.mid, 4]]),
          source: { streamId: 'PA_a|TR_b', trackId: 'TR_b', ssrc: 7, rtxSsrc: 8, cname: 'PA_a' },
        },
        { form: 'data', mid: '1', protocol: 'UDP/DTLS/SCTP', sctpPort: 5000, maxMessageBytes: 262144 },
        { form: 'rejected', mediaType: 'audio', protocol: 'UDP/TLS/RTP/SAVPF', mid: '2', format: '111' },
      ],
    };
    const read = parseSdp(writeSdp(spec));
    expect(read).toMatchObject({
      iceUfrag: 'abcd',
      iceLite: true,
      setup: 'passive',
      candidates: spec.candidates,
    });
    expect(read.media.map(({ mid, rejected }) => [mid, rejected])).toEqual([
      ['0', false],
      ['1', false],
      ['2', true],
    ]);
    expect(read.media[0]).toMatchObject({
      direction: 'sendonly',
      streamId: 'PA_a|TR_b',
      trackId: 'TR_b',
      sources: [{ ssrc: 7, rtxSsrc: 8 }],
    });
    expect(read.media[0]?.codecs).toEqual(spec.media[0]?.form === 'media' ? spec.media[0].codecs : []);
  });
});
