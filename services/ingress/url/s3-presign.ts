import { createHash, createHmac } from 'node:crypto';

/** Where s3:// inputs are read and with whose keys. */
export type S3InputOptions = {
  accessKey: string;
  secret: string;
  /** '' = none. */
  sessionToken: string;
  region: string;
  /** '' = AWS. */
  endpoint: string;
  forcePathStyle: boolean;
  /** Buckets that may be read; empty = all the key may read. */
  buckets: readonly string[];
};

const EXPIRES_S = 6 * 3600;
const ALGORITHM = 'AWS4-HMAC-SHA256';

/**
 * An address that reads one object for six hours, without further credentials (AWS Signature Version 4, query
 * parameters). Signed anew for every round of a loop.
 */
export function presignS3(
  options: S3InputOptions,
  object: { bucket: string; key: string },
  now = new Date(),
  expiresS = EXPIRES_S,
): string {
  const { accessKey, secret, sessionToken, region } = options;
  const { origin, host, path } = location(options, object);
  const time = now.toISOString().replace(/[-:]|\.\d{3}/g, '');
  const date = time.slice(0, 8);
  const scope = `${date}/${region}/s3/aws4_request`;
  const query = Object.entries({
    'X-Amz-Algorithm': ALGORITHM,
    'X-Amz-Credential': `${accessKey}/${scope}`,
    'X-Amz-Date': time,
    'X-Amz-Expires': String(expiresS),
    ...(sessionToken === '' ? {} : { 'X-Amz-Security-Token': sessionToken }),
    'X-Amz-SignedHeaders': 'host',
  })
    .map(([name, value]) => `${name}=${encode(value)}`)
    .sort()
    .join('&');
  const request = ['GET', path, query, `host:${host}`, '', 'host', 'UNSIGNED-PAYLOAD'].join('\n');
  const hash = createHash('sha256').update(request).digest('hex');
  const signingKey = [date, region, 's3', 'aws4_request'].reduce<string | Buffer>(hmac, `AWS4${secret}`);
  const signature = hmac(signingKey, [ALGORITHM, time, scope, hash].join('\n')).toString('hex');
  return `${origin}${path}?${query}&X-Amz-Signature=${signature}`;
}

function location(
  { endpoint, region, forcePathStyle }: S3InputOptions,
  { bucket, key }: { bucket: string; key: string },
): { origin: string; host: string; path: string } {
  const aws = region === 'us-east-1' ? 's3.amazonaws.com' : `s3.${region}.amazonaws.com`;
  const base = new URL(endpoint === '' ? `https://${aws}` : endpoint);
  const object = key.split('/').map(encode).join('/');
  const prefix = base.pathname.replace(/\/$/, '');
  if (forcePathStyle) {
    return { origin: base.origin, host: base.host, path: `${prefix}/${encode(bucket)}/${object}` };
  }
  const host = `${bucket}.${base.host}`;
  return { origin: `${base.protocol}//${host}`, host, path: `${prefix}/${object}` };
}

/** RFC 3986: all but unreserved characters. */
function encode(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}
