import { describe, expect, it } from 'vitest';
import { redactText, redactValue } from '../../../services/base/redact.ts';

const JWT = 'eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJrIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ';

describe('redaction', () => {
  it.each([
    [`Bearer ${JWT}`, 'Bearer [redacted]'],
    [
      `ws://host/rtc?access_token=${JWT}&auto_subscribe=1`,
      'ws://host/rtc?access_token=[redacted]&auto_subscribe=1',
    ],
    ['ws://host/rtc/v1?join_request=AAAA%2B', 'ws://host/rtc/v1?join_request=[redacted]'],
    ['https://user:pass@proxy:8080/x', 'https://[redacted]@proxy:8080/x'],
    ['rtmp://a.example/live/abcdefghijkl failed', 'rtmp://a.example/live/{abc...jkl} failed'],
    ['rtmps://a.example:443/app/short', 'rtmps://a.example:443/app/{...}'],
    [
      'srt://h:1?mode=caller&streamid=publish:x&passphrase=abcdefgh',
      'srt://h:1?mode=caller&streamid=[redacted]&passphrase=[redacted]',
    ],
    ['rtmp://h/app/key?sig=a/b/c&x=1 lost', 'rtmp://h/app/{key...x=1} lost'],
    ['rtmp://h/app/instance/abcdefghijkl', 'rtmp://h/app/instance/{abc...jkl}'],
    ['rtmp://user:pw@h/app/abcdefghijkl', 'rtmp://[redacted]@h/app/{abc...jkl}'],
    ['mux://abcdefghijkl twitch://live_123_abcdef', 'mux://{abc...jkl} twitch://{liv...def}'],
    [
      '(rtmp://h/app/{abc...jkl}) or rtmp://h/app/{...}.',
      '(rtmp://h/app/{abc...jkl}) or rtmp://h/app/{...}.',
    ],
    ['srt://h:1?x=secret&latency=200', 'srt://h:1?x=[redacted]&latency=200'],
    ['room "demo" has 3 tokens', 'room "demo" has 3 tokens'],
  ])('%s', (text, expected) => {
    expect(redactText(text)).toBe(expected);
  });

  it('cuts secret fields at any depth, whatever their spelling', () => {
    const dirty = {
      room: 'demo',
      s3: { access_key: 'A', secret: 'B', sessionToken: 'C', bucket: 'b' },
      list: [{ streamKey: 'D' }, `rtmp://h/live/longstreamkey`],
    };
    const clean = JSON.stringify(redactValue(dirty));
    expect(clean).not.toMatch(/"[ABCD]"|longstreamkey/);
    expect(clean).toContain('demo');
    expect(clean).toContain('"b"');
    expect(dirty.s3.secret).toBe('B');
  });
});
