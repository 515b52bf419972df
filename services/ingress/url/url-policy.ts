import { lookup } from 'node:dns/promises';
import { realpath } from 'node:fs/promises';
import { BlockList, isIP } from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { ServiceError } from '../../base/errors.ts';
import type { TlsTrust } from '../../base/net/dial.ts';
import { parseStreamUrl, type RtmpAddress, type SrtAddress } from '../../model/stream-url.ts';
import { presignS3, type S3InputOptions } from './s3-presign.ts';

export type UrlPolicyOptions = {
  /** CIDR ranges that may be reached although they are private. */
  allowAddresses: readonly string[];
  /** Folder that file: URLs may read; '' = none. */
  fileRoot: string;
  /** Undefined: s3: URLs are refused. */
  s3?: S3InputOptions | undefined;
  /** Of https, rtsps, rtmps and s3; default: public authorities. */
  tls?: TlsTrust;
  /** Another resolver, for tests. */
  resolve?: (host: string) => Promise<{ address: string }[]>;
};

/** What a URL input may reach. `ipAddress` was checked, and is the one to connect to. */
export type UrlTarget =
  | { kind: 'http'; url: string }
  | { kind: 'file'; path: string }
  | S3Target
  | { kind: 'srt'; address: SrtAddress; ipAddress: string }
  | RtspTarget
  | RtmpTarget;
export type S3Target = { kind: 's3'; bucket: string; key: string };
export type RtmpTarget = { kind: 'rtmp'; address: RtmpAddress; ipAddress: string };
export type RtspTarget = {
  kind: 'rtsp';
  url: string;
  host: string;
  port: number;
  secure: boolean;
  ipAddress: string;
};

const RTSP_PORT = { 'rtsp:': 554, 'rtsps:': 322 } as const;
const BUCKET_NAME = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;

/** It comes when it comes; all others are recordings, or paced like one (HLS). */
export function isLive({ kind }: UrlTarget): boolean {
  return kind === 'srt' || kind === 'rtsp' || kind === 'rtmp';
}

/** Not public by RFC 6890 and its updates, multicast included (IANA special-purpose address registries). */
const PRIVATE_RANGES: readonly string[] = [
  ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12'],
  ...['192.0.0.0/24', '192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15'],
  ...['198.51.100.0/24', '203.0.113.0/24', '224.0.0.0/4', '240.0.0.0/4'],
  ...['::/128', '::1/128', '64:ff9b:1::/48', '100::/64', '2001::/23', '2001:db8::/32', '2002::/16'],
  // Azure's metadata service has a public address.
  '168.63.129.16/32',
  ...['5f00::/16', 'fc00::/7', 'fe80::/10', 'fec0::/10', 'ff00::/8'],
];

/** Decides which addresses and files a URL input may read, before and while it reads them. */
export class UrlPolicy {
  /** Whose certificates count. */
  readonly trust: TlsTrust;
  readonly #private = rangesOf(PRIVATE_RANGES);
  readonly #allowed: BlockList;
  readonly #fileRoot: string;
  readonly #s3: S3InputOptions | undefined;
  readonly #resolve: (host: string) => Promise<{ address: string }[]>;

  /** @throws ServiceError invalid_argument when a range is not CIDR. */
  constructor(options: UrlPolicyOptions) {
    this.#allowed = rangesOf(options.allowAddresses);
    this.#fileRoot = options.fileRoot;
    this.#s3 = options.s3;
    this.trust = options.tls ?? {};
    this.#resolve = options.resolve ?? ((host) => lookup(host, { all: true, verbatim: true }));
  }

  /** @throws ServiceError invalid_argument | permission_denied saying what is wrong with the URL. */
  async target(url: string): Promise<UrlTarget> {
    if (!URL.canParse(url)) {
      throw new ServiceError('invalid_argument', 'invalid ingress: the url is not a URL');
    }
    const parsed = new URL(url);
    const { protocol } = parsed;
    switch (protocol) {
      case 'http:':
      case 'https:':
        await this.address(parsed.hostname);
        return { kind: 'http', url };
      case 'file:':
        return { kind: 'file', path: await this.#file(parsed) };
      case 's3:':
        return this.#s3Object(url);
      case 'srt:':
      case 'rtmp:':
      case 'rtmps:': {
        const address = parseStreamUrl(url);
        const ipAddress = await this.address(address.host);
        return address.protocol === 'srt'
          ? { kind: 'srt', address, ipAddress }
          : { kind: 'rtmp', address, ipAddress };
      }
      case 'rtsp:':
      case 'rtsps:': {
        const { hostname } = parsed;
        const ipAddress = await this.address(hostname);
        const port = Number(parsed.port) || RTSP_PORT[protocol];
        const host = hostname.replace(/^\[|\]$/g, '');
        return { kind: 'rtsp', url, host, port, secure: protocol === 'rtsps:', ipAddress };
      }
      default:
        throw new ServiceError(
          'invalid_argument',
          `invalid ingress: invalid url scheme ${protocol.slice(0, -1)}`,
        );
    }
  }

  /** Where the object is read, signed with the operator's key. Its host is checked when it is read, like any other. */
  signedUrl(object: S3Target): string {
    if (this.#s3 === undefined) {
      throw noS3();
    }
    return presignS3(this.#s3, object);
  }

  /**
   * An address of the host that may be reached. All of its addresses must be allowed: one private among them is how
   * a name is made to point inside.
   * @throws ServiceError permission_denied | unavailable, naming the host.
   */
  async address(host: string): Promise<string> {
    const bare = host.replace(/^\[|\]$/g, '');
    const addresses = isIP(bare) === 0 ? await this.#lookUp(bare) : [bare];
    // Where both are told, the older protocol is there more often.
    const first = addresses.find((address) => isIP(address) === 4) ?? addresses[0];
    if (first === undefined) {
      throw new ServiceError('unavailable', `${bare} has no address`, { blame: 'destination' });
    }
    if (!addresses.every((address) => this.#mayReach(address))) {
      throw new ServiceError(
        'permission_denied',
        `${bare} is in a private network: add its range to ingress.url_input.allow_addresses to read from it`,
      );
    }
    return first;
  }

  async #lookUp(host: string): Promise<string[]> {
    try {
      return (await this.#resolve(host)).map(({ address }) => address);
    } catch (cause) {
      throw new ServiceError('unavailable', `${host} cannot be resolved`, { blame: 'destination', cause });
    }
  }

  #mayReach(address: string): boolean {
    const plain = withoutMapping(address);
    const family = isIP(plain) === 4 ? 'ipv4' : 'ipv6';
    return !this.#private.check(plain, family) || this.#allowed.check(plain, family);
  }

  /** s3://bucket/key; the key is taken as written. */
  async #s3Object(url: string): Promise<S3Target> {
    if (this.#s3 === undefined) {
      throw noS3();
    }
    const [, bucket = '', key = ''] = /^s3:\/\/([^/?#]*)\/(.*)$/i.exec(url) ?? [];
    if (!BUCKET_NAME.test(bucket) || key === '') {
      throw new ServiceError('invalid_argument', 'invalid ingress: url: an S3 address is s3://bucket/key');
    }
    const { buckets } = this.#s3;
    if (buckets.length > 0 && !buckets.includes(bucket)) {
      throw new ServiceError('permission_denied', `bucket ${bucket} is not in ingress.url_input.s3.buckets`);
    }
    const target = { kind: 's3', bucket, key } as const;
    await this.address(new URL(this.signedUrl(target)).hostname);
    return target;
  }

  async #file(url: URL): Promise<string> {
    if (this.#fileRoot === '') {
      throw new ServiceError(
        'permission_denied',
        'file URLs are switched off: set ingress.url_input.file_root to a folder they may read',
      );
    }
    if (url.hostname !== '') {
      throw new ServiceError('invalid_argument', 'invalid ingress: a file URL names no host');
    }
    // Symbolic links count as what they point at.
    const root = await realpath(this.#fileRoot).catch(() => path.resolve(this.#fileRoot));
    const file = await realpath(fileURLToPath(url)).catch(() => undefined);
    if (file?.startsWith(root + path.sep) !== true) {
      throw new ServiceError('not_found', 'no such file below ingress.url_input.file_root');
    }
    return file;
  }
}

function noS3(): ServiceError {
  return new ServiceError(
    'permission_denied',
    's3 URLs are switched off: set ingress.url_input.s3 to the keys they are read with',
  );
}

/** IPv4 inside IPv6 (mapped, compatible, NAT64) counts as the IPv4 address it reaches. */
function withoutMapping(address: string): string {
  if (isIP(address) !== 6) {
    return address;
  }
  const bytes = ipv6Bytes(address);
  const tail = bytes.subarray(12).join('.');
  const isMapped =
    bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
  const isCompatible =
    bytes.subarray(0, 12).every((byte) => byte === 0) && bytes.subarray(12, 15).some((byte) => byte !== 0);
  const isNat64 = Buffer.from(bytes.subarray(0, 12)).toString('hex') === '0064ff9b0000000000000000';
  return isMapped || isCompatible || isNat64 ? tail : address;
}

/** @param address a valid IPv6 address. */
function ipv6Bytes(address: string): Uint8Array {
  // The URL parser writes every form the same way: hexadecimal, the longest run of zeros as "::".
  const normal = new URL(`http://[${address.split('%', 1)[0] ?? ''}]/`).hostname.slice(1, -1);
  const [head = '', tail] = normal.split('::');
  const groups = (text: string): number[] =>
    text === '' ? [] : text.split(':').map((group) => parseInt(group, 16));
  const front = groups(head);
  const back = groups(tail ?? '');
  const all = [...front, ...new Array<number>(8 - front.length - back.length).fill(0), ...back];
  return Uint8Array.from(all.flatMap((group) => [group >> 8, group & 0xff]));
}

function rangesOf(ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    const [address = '', bits = ''] = range.split('/');
    const family = isIP(address);
    if (family === 0 || !/^\d{1,3}$/.test(bits) || Number(bits) > (family === 4 ? 32 : 128)) {
      throw new ServiceError(
        'invalid_argument',
        `ingress.url_input.allow_addresses: "${range}" is not a range like 10.0.0.0/8`,
      );
    }
    list.addSubnet(address, Number(bits), family === 4 ? 'ipv4' : 'ipv6');
  }
  return list;
}
