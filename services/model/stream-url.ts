import { ServiceError } from '../base/errors.ts';
import { redactStreamUrl } from '../base/redact.ts';

/** Where a stream goes. `url` identifies it (aliases resolved), `redactedUrl` is what anybody may see. */
export type RtmpAddress = {
  protocol: 'rtmp';
  url: string;
  redactedUrl: string;
  /** rtmps: TLS from the first byte. */
  secure: boolean;
  host: string;
  port: number;
  app: string;
  /** Query included, as platforms that sign their keys want it. */
  streamKey: string;
};

export type SrtAddress = {
  protocol: 'srt';
  url: string;
  redactedUrl: string;
  host: string;
  port: number;
  /** '' = none. */
  streamId: string;
  /** '' = not encrypted. */
  passphrase: string;
  /** 0 = the default. */
  keyLengthBytes: 0 | 16 | 24 | 32;
  /** 0 = the default, 120 ms. */
  latencyMs: number;
};

export type StreamAddress = RtmpAddress | SrtAddress;
export type StreamProtocol = StreamAddress['protocol'];

export type StreamUrlOptions = {
  /** Refuses addresses of the other protocol. */
  protocol?: StreamProtocol;
  /** What twitch://KEY stands for, with {stream_key} in it; '' = not configured. */
  twitchIngest?: string;
};

const MUX_INGEST = 'rtmps://global-live.mux.com:443/app/';
const HOST_AND_PORT = /^(\[[0-9a-f:.]+\]|[\w.-]+)(?::(\d{1,5}))?$/i;
const DEFAULT_PORT = { rtmp: 1935, rtmps: 443 } as const;
const MAX_URL_CHARACTERS = 2048;
const SRT_OPTIONS: ReadonlySet<string> = new Set([
  'mode',
  'streamid',
  'passphrase',
  'pbkeylen',
  'latency',
  'transtype',
]);

/**
 * rtmp://, rtmps://, srt://, mux://KEY and twitch://KEY.
 * @throws ServiceError invalid_argument "invalid url: …"; its text holds no secret.
 */
export function parseStreamUrl(text: string, options: StreamUrlOptions = {}): StreamAddress {
  // librtmp's option for live streams, which LiveKit lets pass.
  const url = resolveAlias(text.trim().replace(/ live=1$/, ''), options.twitchIngest ?? '');
  const scheme = /^([a-z]+):\/\//i.exec(url)?.[1]?.toLowerCase();
  if (url.length > MAX_URL_CHARACTERS || /[\s\p{Cc}]/u.test(url)) {
    throw invalidUrl('it is too long or holds blanks', text);
  }
  const address =
    scheme === 'rtmp' || scheme === 'rtmps'
      ? parseRtmp(url, scheme)
      : scheme === 'srt'
        ? parseSrt(url)
        : undefined;
  if (address === undefined) {
    throw invalidUrl('streams go to rtmp://, rtmps://, srt://, mux:// or twitch://', text);
  }
  if (options.protocol !== undefined && options.protocol !== address.protocol) {
    throw invalidUrl(`this output streams over ${options.protocol}`, text);
  }
  return address;
}

function resolveAlias(url: string, twitchIngest: string): string {
  const [, alias, key = ''] = /^(mux|twitch):\/\/(.*)$/i.exec(url) ?? [];
  if (alias === undefined) {
    return url;
  }
  if (key === '' || key.includes('/')) {
    throw invalidUrl('the stream key is missing or holds a slash', url);
  }
  if (alias.toLowerCase() === 'mux') {
    return MUX_INGEST + key;
  }
  if (twitchIngest === '') {
    throw invalidUrl(
      'twitch:// needs twitch_ingest in the configuration of egress, or give the full rtmps:// address',
      url,
    );
  }
  return twitchIngest.replace('{stream_key}', () => key);
}

function parseRtmp(url: string, scheme: 'rtmp' | 'rtmps'): RtmpAddress {
  const rest = url.slice(scheme.length + '://'.length);
  const authority = /^[^/?#]*/.exec(rest)?.[0] ?? '';
  const { host, port } = parseAuthority(authority, url, DEFAULT_PORT[scheme]);
  const path = rest.slice(authority.length).replace(/^\/+/, '');
  const queryAt = path.indexOf('?');
  const slash = path.lastIndexOf('/', queryAt === -1 ? undefined : queryAt);
  // "app?signature/key": the query belongs to the application.
  const end = slash === -1 ? path.lastIndexOf('/') : slash;
  const app = path.slice(0, Math.max(end, 0)).replace(/\/+$/, '');
  const streamKey = path.slice(end + 1);
  if (app === '' || streamKey === '') {
    throw invalidUrl('an RTMP address is rtmp://host/app/streamkey', url);
  }
  return {
    protocol: 'rtmp',
    url,
    redactedUrl: redactStreamUrl(url),
    secure: scheme === 'rtmps',
    host,
    port,
    app,
    streamKey,
  };
}

function parseSrt(url: string): SrtAddress {
  const rest = url.slice('srt://'.length);
  const authority = /^[^/?#]*/.exec(rest)?.[0] ?? '';
  const { host, port } = parseAuthority(authority, url, undefined);
  const query = rest.slice(authority.length).replace(/^\/?/, '');
  if (query !== '' && !query.startsWith('?')) {
    throw invalidUrl('an SRT address is srt://host:port?streamid=…', url);
  }
  const options = new URLSearchParams(query);
  const unknown = [...options.keys()].find((name) => !SRT_OPTIONS.has(name));
  if (unknown !== undefined) {
    throw invalidUrl(`SRT option "${unknown.slice(0, 40)}" is not supported`, url);
  }
  if (!['caller', null].includes(options.get('mode')) || !['live', null].includes(options.get('transtype'))) {
    throw invalidUrl('SRT streams go out with mode=caller and transtype=live only', url);
  }
  const passphrase = options.get('passphrase') ?? '';
  if (passphrase !== '' && (passphrase.length < 10 || passphrase.length > 79)) {
    throw invalidUrl('an SRT passphrase has 10 to 79 characters', url);
  }
  const keyLengthBytes = Number(options.get('pbkeylen') ?? 0);
  const latencyMs = Number(options.get('latency') ?? 0);
  if (![0, 16, 24, 32].includes(keyLengthBytes) || !(latencyMs >= 0 && latencyMs <= 60_000)) {
    throw invalidUrl('SRT takes pbkeylen 16, 24 or 32 and a latency of up to 60000 ms', url);
  }
  const streamId = options.get('streamid') ?? '';
  if (/[\r\n]/.test(streamId + passphrase) || streamId.length > 512) {
    throw invalidUrl('an SRT streamid has at most 512 characters and no line breaks', url);
  }
  return {
    protocol: 'srt',
    url,
    redactedUrl: redactStreamUrl(url),
    host,
    port,
    streamId,
    passphrase,
    keyLengthBytes: keyLengthBytes as SrtAddress['keyLengthBytes'],
    latencyMs,
  };
}

function parseAuthority(
  authority: string,
  url: string,
  defaultPort: number | undefined,
): { host: string; port: number } {
  if (authority.includes('@')) {
    throw invalidUrl('user and password in front of the host are not supported', url);
  }
  const [, host, portText] = HOST_AND_PORT.exec(authority) ?? [];
  const port = portText === undefined ? defaultPort : Number(portText);
  if (host === undefined || port === undefined || port < 1 || port > 65_535) {
    throw invalidUrl('host or port is missing or not valid', url);
  }
  return { host: host.replace(/^\[|\]$/g, ''), port };
}

/** Shows the address without its secrets; of a scheme we do not know, only the scheme. */
function invalidUrl(reason: string, url: string): ServiceError {
  const isKnown = /^(rtmps?|srt|mux|twitch):\/\//i.test(url.trim());
  const shown = isKnown
    ? redactStreamUrl(url.trim()).slice(0, 200)
    : (/^[a-z]+:/i.exec(url.trim())?.[0] ?? '');
  return new ServiceError('invalid_argument', `invalid url: ${reason}${shown === '' ? '' : ` (${shown})`}`);
}
