import { describe, expect, it } from 'vitest';
import {
  EgressInfo,
  RoomCompositeEgressRequest,
  StreamInfo,
  StreamOutput,
  TrackEgressRequest,
} from '@livekit/protocol';
import { parseStreamUrl } from '../../../services/model/stream-url.ts';
import { redactEgress } from '../../../services/protocol/redact-egress.ts';

describe('stream addresses', () => {
  it.each([
    [
      'rtmp://a.example/live/key',
      { secure: false, host: 'a.example', port: 1935, app: 'live', streamKey: 'key' },
    ],
    ['rtmps://a.example/live/key', { secure: true, port: 443 }],
    ['rtmps://a.example:8443/app/inst/key', { port: 8443, app: 'app/inst', streamKey: 'key' }],
    ['rtmp://[::1]:1936/live/key', { host: '::1', port: 1936 }],
    ['rtmp://h/live/key?sign=a/b/c&t=1', { app: 'live', streamKey: 'key?sign=a/b/c&t=1' }],
    ['rtmp://h/live?auth=1/key', { app: 'live?auth=1', streamKey: 'key' }],
    ['rtmp://h/live/key live=1', { streamKey: 'key' }],
    ['RTMP://H/live/key', { protocol: 'rtmp', host: 'H' }],
    [
      'mux://mux-key-123',
      { secure: true, host: 'global-live.mux.com', port: 443, app: 'app', streamKey: 'mux-key-123' },
    ],
    [
      'srt://h:9000?streamid=publish:x&passphrase=0123456789&pbkeylen=32&latency=200&mode=caller',
      {
        host: 'h',
        port: 9000,
        streamId: 'publish:x',
        passphrase: '0123456789',
        keyLengthBytes: 32,
        latencyMs: 200,
      },
    ],
  ])('%s', (url, expected) => {
    expect(parseStreamUrl(url)).toMatchObject(expected);
  });

  it('writes twitch:// out with the configured ingest only', () => {
    const twitchIngest = 'rtmps://ingest.example/app/{stream_key}';
    expect(parseStreamUrl('twitch://live_1_$&abc', { twitchIngest })).toMatchObject({
      url: 'rtmps://ingest.example/app/live_1_$&abc',
      redactedUrl: 'rtmps://ingest.example/app/{liv...abc}',
    });
    expect(() => parseStreamUrl('twitch://live_1_secret')).toThrow(/invalid url: .*twitch_ingest/);
  });

  it.each([
    ['', /rtmp:\/\//],
    ['https://h/live/secretsecret', /rtmp:\/\//],
    ['rtmp://h/secretsecret', /rtmp:\/\/host\/app\/streamkey/],
    ['rtmp://h/live/', /streamkey/],
    ['rtmp:///live/secretsecret', /host or port/],
    ['rtmp://h:99999/live/secretsecret', /host or port/],
    ['rtmp://user:secretsecret@h/live/key', /user and password/],
    ['rtmp://h/live/secret secret', /blanks/],
    [`rtmp://h/live/${'secretsecret'.repeat(300)}`, /too long/],
    ['mux://', /key is missing/],
    ['srt://h', /host or port/],
    ['srt://h:1?mode=listener', /mode=caller/],
    ['srt://h:1?passphrase=secretsec', /passphrase/],
    ['srt://h:1?frobnicate=secretsecret', /"frobnicate" is not supported/],
    ['srt://h:1?pbkeylen=7', /pbkeylen/],
  ])('refuses %s without telling the secret', (url, reason) => {
    expect(() => parseStreamUrl(url)).toThrow(reason);
    expect(() => parseStreamUrl(url)).toThrow(/^invalid url: (?!.*secretsec)/);
    expect(() => parseStreamUrl(url)).toThrow(expect.objectContaining({ code: 'invalid_argument' }) as Error);
  });

  it('refuses the other protocol', () => {
    expect(() => parseStreamUrl('srt://h:1', { protocol: 'rtmp' })).toThrow(/streams over rtmp/);
  });
});

describe('what others see of a streaming job', () => {
  it('has no key, in no field', () => {
    const urls = [
      'rtmp://h/app/very-secret',
      'rtmps://user:very-secret@h/app/very-secret?a=/very-secret',
      'mux://very-secret',
      'twitch://very-secret',
      'srt://h:1?streamid=very-secret&passphrase=very-secret',
    ];
    const streams = urls.map((url) => new StreamInfo({ url, error: `${url} failed` }));
    const composite = redactEgress(
      new EgressInfo({
        request: {
          case: 'roomComposite',
          value: new RoomCompositeEgressRequest({ streamOutputs: [new StreamOutput({ urls })] }),
        },
        streamResults: streams,
        error: urls.join(' '),
      }),
    );
    expect(composite.toJsonString()).not.toContain('very-secret');
    expect(composite.streamResults[0]?.url).toBe('rtmp://h/app/{ver...ret}');
    const track = redactEgress(
      new EgressInfo({
        request: {
          case: 'track',
          value: new TrackEgressRequest({
            output: { case: 'websocketUrl', value: 'wss://user@h/x?access=very-secret&n=very-secret' },
          }),
        },
      }),
    );
    expect(track.toJsonString()).not.toContain('very-secret');
    expect(track.toJsonString()).not.toContain('user');
  });
});
