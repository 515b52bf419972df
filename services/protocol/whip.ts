import { ServiceError } from '../base/errors.ts';
import type { TrackSource } from '../model/track.ts';

/**
 * WHIP (RFC 9725) as the encoders' endpoint of the ingress and the SFU's own endpoint both speak it. An encoder's
 * offer is 1 to 3 KB; a browser that offers every codec writes 6 KB per section.
 */
export const WHIP_LIMITS = { maxBodyBytes: 64 * 1024, bodyTimeoutMs: 10_000 } as const;

/** The SFU's endpoint, as LiveKit has it: POST with a room token. */
export const SFU_WHIP_PATH = '/whip/v1';

export const SDP_TYPE = 'application/sdp';
export const SDP_FRAGMENT_TYPE = 'application/trickle-ice-sdpfrag';

/** LiveKit's: the session belongs to an ingress, which wants to be told how it goes. */
export const INGRESS_HEADER = 'x-livekit-ingress';
/** Ours: names and sources of the tracks, see encodeTrackHints. */
export const TRACKS_HEADER = 'x-sluice-tracks';

/** RFC 9725 section 4.2: browsers of any origin may publish, and must be able to read these headers. */
export const CORS_HEADERS: Readonly<Record<string, string>> = {
  'access-control-allow-origin': '*',
  'access-control-expose-headers': 'Location, ETag, Link, Accept-Post, Accept-Patch',
};

/** The answer to OPTIONS, preflights included. */
export function optionsHeaders(resource: 'endpoint' | 'session'): Record<string, string> {
  const [methods, accepts] =
    resource === 'endpoint'
      ? ['POST, GET, OPTIONS', { 'accept-post': SDP_TYPE }]
      : ['PATCH, DELETE, GET, OPTIONS', { 'accept-patch': SDP_FRAGMENT_TYPE }];
  return {
    ...CORS_HEADERS,
    ...accepts,
    allow: methods,
    'access-control-allow-methods': methods,
    'access-control-allow-headers': 'Authorization, Content-Type, If-Match',
    'access-control-max-age': '86400',
  };
}

/** A browser's question before a request to another origin: it carries no key, and gets no Link headers (section 4.6). */
export function isPreflight(headers: Readonly<Record<string, unknown>>): boolean {
  return headers['access-control-request-method'] !== undefined;
}

/** Content-Type without parameters, lower case. */
export function mediaType(header: string | undefined): string {
  return (header ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
}

/** @throws ServiceError 415 naming what is expected. */
export function requireMediaType(header: string | undefined, expected: string): void {
  if (mediaType(header) !== expected) {
    throw new ServiceError('malformed', `Content-Type must be ${expected}`, { httpStatus: 415 });
  }
}

export type TrackHint = { name: string; source: TrackSource };
export type TrackHints = { audio: TrackHint; video: TrackHint };

export const DEFAULT_TRACK_HINTS: TrackHints = {
  audio: { name: '', source: 'microphone' },
  video: { name: '', source: 'camera' },
};

/** Names may be in any script, headers may not. */
export function encodeTrackHints(hints: TrackHints): string {
  return Buffer.from(JSON.stringify(hints)).toString('base64url');
}

const AUDIO_SOURCES: readonly TrackSource[] = ['unknown', 'microphone', 'screen_share_audio'];
const VIDEO_SOURCES: readonly TrackSource[] = ['unknown', 'camera', 'screen_share'];
const MAX_NAME_LENGTH = 256;

/** @throws ServiceError malformed. */
export function decodeTrackHints(header: string | undefined): TrackHints {
  if (header === undefined) {
    return DEFAULT_TRACK_HINTS;
  }
  try {
    const value = JSON.parse(Buffer.from(header, 'base64url').toString()) as Record<string, unknown>;
    return {
      audio: hintOf(value['audio'], AUDIO_SOURCES),
      video: hintOf(value['video'], VIDEO_SOURCES),
    };
  } catch (error) {
    throw new ServiceError('malformed', `${TRACKS_HEADER}: not a description of tracks`, { cause: error });
  }
}

function hintOf(value: unknown, sources: readonly TrackSource[]): TrackHint {
  const { name, source } = value as Record<string, unknown>;
  const known = sources.find((candidate) => candidate === source);
  if (typeof name !== 'string' || name.length > MAX_NAME_LENGTH || known === undefined) {
    throw new TypeError('name or source');
  }
  return { name, source: known };
}
