/**
 * The one place that knows what a secret looks like. Everything that leaves the process as text
 * (logs, API answers, errors, metrics) passes through here.
 */
const REDACTED = '[redacted]';

/** Field names whose value is always secret, matched case-insensitively. */
const SECRET_FIELD =
  /^(access_?token|authorization|token|secret|api_?secret|access_?key|secret_?key|session_?token|stream_?key|password|(?:srt_)?passphrase|credentials|account_?key|signing_?key|join_request|ice_?pwd)$/i;

const JWT = /\beyJ[\w-]+\.[\w-]+\.[\w-]*/g;
const URL_CREDENTIALS = /\b([a-z][a-z0-9+.-]*:\/\/)[^/\s:@]*:[^/\s@]*@/gi;
const SECRET_QUERY =
  /([?&](?:access_token|x-amz-signature|x-amz-security-token|x-amz-credential|token|join_request|streamid|passphrase|key|secret)=)[^&\s"']+/gi;
const STREAM_URL = /\b(rtmps?|srt|mux|twitch):\/\/[^\s"']+/gi;
/** As redactStreamKey leaves it, with the punctuation of a sentence behind it. */
const REDACTED_KEY = /^\{(.{3})?\.{3}(.{3})?\}[).,;:]*$/;
/** Options of an SRT address that say nothing secret; the value of any other is cut. */
const OPEN_SRT_OPTIONS: ReadonlySet<string> = new Set(['mode', 'latency', 'pbkeylen', 'transtype']);

/** Replaces tokens, URL credentials and stream keys inside free text. */
export function redactText(text: string): string {
  return text
    .replace(STREAM_URL, redactStreamUrl)
    .replace(JWT, REDACTED)
    .replace(URL_CREDENTIALS, `$1${REDACTED}@`)
    .replace(SECRET_QUERY, `$1${REDACTED}`);
}

/** A stream address without its key, user, password and secret options; other text stays as it is. */
export function redactStreamUrl(url: string): string {
  const [, scheme = '', user = '', host = '', rest = ''] =
    /^([a-z]+:\/\/)([^/?]*@)?([^/?]*)(.*)$/is.exec(url) ?? [];
  const credentials = user === '' ? '' : `${REDACTED}@`;
  switch (scheme.toLowerCase()) {
    case 'rtmp://':
    case 'rtmps://':
      return `${scheme}${credentials}${host}${redactRtmpPath(rest)}`;
    case 'srt://':
      return `${scheme}${credentials}${host}${redactSrtOptions(rest)}`;
    case 'mux://':
    case 'twitch://':
      return `${scheme}${redactStreamKey(url.slice(scheme.length))}`;
    default:
      return url;
  }
}

/** `/app/key?query`: the key and its query are one secret, whatever slashes the query holds. */
function redactRtmpPath(path: string): string {
  const queryAt = path.indexOf('?');
  const lastSlash = path.lastIndexOf('/', queryAt === -1 ? undefined : queryAt);
  if (lastSlash === -1) {
    return path === '' ? '' : REDACTED;
  }
  const key = path.slice(lastSlash + 1);
  return path.slice(0, lastSlash + 1) + (key === '' ? '' : redactStreamKey(key));
}

function redactSrtOptions(rest: string): string {
  return rest.replace(/([?&])([^=&]*)=([^&]*)/g, (whole, separator: string, name: string) =>
    OPEN_SRT_OPTIONS.has(name.toLowerCase()) ? whole : `${separator}${name}=${REDACTED}`,
  );
}

/** LiveKit's form: `{abc...xyz}` when long enough to hint at the key without giving it away. Idempotent. */
export function redactStreamKey(key: string): string {
  if (REDACTED_KEY.test(key)) {
    return key;
  }
  return key.length > 9 ? `{${key.slice(0, 3)}...${key.slice(-3)}}` : '{...}';
}

/** Deep copy of a loggable value with secret fields and secret-looking text replaced. */
export function redactValue(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') {
    return redactText(value);
  }
  if (value === null || typeof value !== 'object' || depth > 6) {
    return value;
  }
  if (value instanceof Error) {
    return value;
  }
  if (ArrayBuffer.isView(value)) {
    return `<${String(value.byteLength)} bytes>`;
  }
  if (Array.isArray(value)) {
    return value.map((item) => redactValue(item, depth + 1));
  }
  const copy: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) {
    copy[key] =
      SECRET_FIELD.test(key) && item !== '' && item !== undefined ? REDACTED : redactValue(item, depth + 1);
  }
  return copy;
}
