import type { ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { SrtAddress } from '../../model/stream-url.ts';
import { GuardedProxy } from './guarded-proxy.ts';
import { RtspRelay } from './rtsp-relay.ts';
import type { RtmpTarget, RtspTarget, UrlPolicy, UrlTarget } from './url-policy.ts';

/** One way to read a target, with whatever stands guard over it. */
export type OpenInput = {
  /** Options of ffmpeg and ffprobe, ending with `-i` and the address; ask anew for every run. */
  args(): string[];
  readonly env: Readonly<Record<string, string>>;
  /** What the guard refused on the way: more telling than what the reader says of it. */
  readonly refusal: ServiceError | undefined;
  /** Where the server sends us; not followed. */
  readonly redirect: string | undefined;
  /** MPEG-TS over SRT, where the end of a stream looks like a broken connection. */
  readonly isSrt: boolean;
  close(): Promise<void>;
};

const UNGUARDED = {
  env: {},
  refusal: undefined,
  redirect: undefined,
  isSrt: false,
  close: () => Promise.resolve(),
} as const;
const TIMEOUT_US = '15000000';

/** Nothing but what the policy checked is opened on the way. */
export async function openInput(
  target: Exclude<UrlTarget, RtmpTarget>,
  policy: UrlPolicy,
  logger: Logger,
): Promise<OpenInput> {
  switch (target.kind) {
    case 'file':
      return {
        ...UNGUARDED,
        args: () => ['-protocol_whitelist', 'file,crypto,data', '-i', `file:${target.path}`],
      };
    case 'http':
      return openHttp(() => target.url, policy, logger);
    case 's3':
      return openHttp(() => policy.signedUrl(target), policy, logger);
    case 'srt':
      return { ...UNGUARDED, isSrt: true, args: () => srtArgs(target.address, target.ipAddress) };
    case 'rtsp':
      return openRtsp(target, policy, logger);
  }
}

async function openHttp(url: () => string, policy: UrlPolicy, logger: Logger): Promise<OpenInput> {
  const proxy = await GuardedProxy.start(policy, logger);
  return {
    args: () => [
      ...['-protocol_whitelist', 'http,https,tcp,tls,httpproxy,crypto,data'],
      ...['-rw_timeout', TIMEOUT_US, '-i', url()],
    ],
    // ffmpeg knows one variable for both schemes, and may leave nothing out.
    env: { http_proxy: proxy.url, no_proxy: '' },
    get refusal() {
      return proxy.refusal;
    },
    redirect: undefined,
    isSrt: false,
    close: () => proxy.close(),
  };
}

/** SRT knows no redirects: the checked address is the only one. ffmpeg counts the latency in microseconds. */
function srtArgs(address: SrtAddress, ipAddress: string): string[] {
  const { port, streamId, passphrase, keyLengthBytes, latencyMs } = address;
  const host = ipAddress.includes(':') ? `[${ipAddress}]` : ipAddress;
  return [
    ...['-protocol_whitelist', 'srt', '-mode', 'caller', '-transtype', 'live', '-timeout', TIMEOUT_US],
    ...(streamId === '' ? [] : ['-srt_streamid', streamId]),
    ...(passphrase === '' ? [] : ['-passphrase', passphrase]),
    ...(keyLengthBytes === 0 ? [] : ['-pbkeylen', String(keyLengthBytes)]),
    ...(latencyMs === 0 ? [] : ['-latency', String(latencyMs * 1000)]),
    ...['-f', 'mpegts', '-i', `srt://${host}:${port}`],
  ];
}

/** Media comes on the same connection (interleaved): the server cannot name another place to fetch it from. */
async function openRtsp(target: RtspTarget, policy: UrlPolicy, logger: Logger): Promise<OpenInput> {
  const relay = await RtspRelay.start({ ...target, trust: policy.trust, logger });
  const { username, password, pathname, search } = new URL(target.url);
  const credentials = username === '' ? '' : `${username}:${password}@`;
  const url = `rtsp://${credentials}127.0.0.1:${relay.port}${pathname}${search}`;
  return {
    args: () => [
      ...['-protocol_whitelist', 'rtsp,rtp,tcp', '-rtsp_transport', 'tcp'],
      ...['-timeout', TIMEOUT_US, '-i', url],
    ],
    env: {},
    get refusal() {
      return relay.failure;
    },
    get redirect() {
      return relay.redirect;
    },
    isSrt: false,
    close: () => relay.close(),
  };
}
