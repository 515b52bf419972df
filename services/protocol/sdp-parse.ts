import { ServiceError } from '../base/errors.ts';
import {
  SDP_LIMITS,
  type SdpCodec,
  type SdpDirection,
  type SdpMediaKind,
  type SdpMediaSection,
  type SdpSetup,
  type SdpSource,
  type SessionDescription,
} from './sdp-types.ts';

type Attributes = { iceUfrag: string; icePwd: string; fingerprint: string; setup: SdpSetup | '' };

type SectionDraft = {
  kind: SdpMediaKind;
  mediaType: string;
  protocol: string;
  port: number;
  bundleOnly: boolean;
  mid: string;
  direction: SdpDirection;
  streamId: string;
  trackId: string;
  msids: Set<string>;
  sourceMsids: Set<string>;
  payloadTypes: number[];
  rtpmaps: Map<number, { name: string; clockRateHz: number; channels: number }>;
  fmtps: Map<number, string>;
  feedback: Map<number, string[]>;
  extensions: Map<string, number>;
  sendRids: string[];
  recvRids: string[];
  ssrcs: Set<number>;
  fid: Map<number, number>;
  candidates: string[];
} & Attributes;

const DIRECTIONS: ReadonlySet<string> = new Set(['sendrecv', 'sendonly', 'recvonly', 'inactive']);
const SETUPS: ReadonlySet<string> = new Set(['actpass', 'active', 'passive']);
/** RFC 8839 section 5.4: 4–256 and 22–256 ice-chars. */
const ICE_UFRAG = /^[A-Za-z0-9+/=_-]{4,256}$/;
const ICE_PWD = /^[A-Za-z0-9+/=_-]{22,256}$/;
const FINGERPRINT = /^(?:[0-9A-F]{2}:){31}[0-9A-F]{2}$/;
const MID = /^[\x21-\x7e]{1,32}$/;

function malformed(what: string): ServiceError {
  return new ServiceError('invalid_argument', `malformed SDP: ${what}`);
}

function integer(text: string | undefined, min: number, max: number, what: string): number {
  const value = text !== undefined && /^\d{1,10}$/.test(text) ? Number(text) : NaN;
  if (!(value >= min && value <= max)) {
    throw malformed(`${what} must be ${min}…${max}`);
  }
  return value;
}

/**
 * Reads an offer or answer written by somebody else.
 * @throws ServiceError invalid_argument naming the line or limit; never anything else.
 */
export function parseSdp(sdp: string): SessionDescription {
  if (Buffer.byteLength(sdp) > SDP_LIMITS.maxBytes) {
    throw malformed(`larger than ${SDP_LIMITS.maxBytes} bytes`);
  }
  const lines = sdp.split('\n').map((line) => (line.endsWith('\r') ? line.slice(0, -1) : line));
  if (lines[0] !== 'v=0') {
    throw malformed('does not start with v=0');
  }
  const session: Attributes & { iceLite: boolean } = { ...emptyAttributes(), iceLite: false };
  const drafts: SectionDraft[] = [];
  for (const line of lines) {
    if (line.length > SDP_LIMITS.maxLineBytes) {
      throw malformed(`a line is longer than ${SDP_LIMITS.maxLineBytes} bytes`);
    }
    const section = drafts.at(-1);
    if (line.startsWith('m=')) {
      if (drafts.length >= SDP_LIMITS.maxMediaSections) {
        throw malformed(`more than ${SDP_LIMITS.maxMediaSections} media sections`);
      }
      drafts.push(startSection(line.slice(2)));
    } else if (line.startsWith('a=')) {
      const colon = line.indexOf(':');
      const name = colon < 0 ? line.slice(2) : line.slice(2, colon);
      const value = colon < 0 ? '' : line.slice(colon + 1).trim();
      if (name === 'ice-lite') {
        session.iceLite = true;
      } else if (!readTransportAttribute(section ?? session, name, value) && section !== undefined) {
        SECTION_ATTRIBUTES.get(name)?.(section, value);
      }
    }
  }
  return finishSession(session, drafts);
}

function emptyAttributes(): Attributes {
  return { iceUfrag: '', icePwd: '', fingerprint: '', setup: '' };
}

function startSection(value: string): SectionDraft {
  const [mediaType = '', port, protocol = '', ...formats] = value.split(' ').filter((word) => word !== '');
  const kind =
    mediaType === 'audio' || mediaType === 'video' || mediaType === 'application' ? mediaType : 'other';
  if (formats.length > SDP_LIMITS.maxCodecsPerSection) {
    throw malformed(`more than ${SDP_LIMITS.maxCodecsPerSection} formats in one media section`);
  }
  const isRtp = kind === 'audio' || kind === 'video';
  return {
    ...emptyAttributes(),
    kind,
    mediaType,
    protocol,
    port: integer(port, 0, 65535, 'm= port'),
    bundleOnly: false,
    mid: '',
    direction: 'sendrecv',
    streamId: '',
    trackId: '',
    msids: new Set(),
    sourceMsids: new Set(),
    payloadTypes: isRtp ? formats.map((format) => integer(format, 0, 127, 'payload type')) : [],
    rtpmaps: new Map(),
    fmtps: new Map(),
    feedback: new Map(),
    extensions: new Map(),
    sendRids: [],
    recvRids: [],
    ssrcs: new Set(),
    fid: new Map(),
    candidates: [],
  };
}

function readTransportAttribute(target: Attributes, name: string, value: string): boolean {
  switch (name) {
    case 'ice-ufrag':
      target.iceUfrag = value;
      return true;
    case 'ice-pwd':
      target.icePwd = value;
      return true;
    case 'fingerprint': {
      const [algorithm = '', digest = ''] = value.split(' ');
      if (algorithm.toLowerCase() === 'sha-256') {
        target.fingerprint = digest.toUpperCase();
      }
      return true;
    }
    case 'setup':
      target.setup = SETUPS.has(value) ? (value as SdpSetup) : '';
      return true;
    default:
      return false;
  }
}

const SECTION_ATTRIBUTES = new Map<string, (section: SectionDraft, value: string) => void>(
  Object.entries({
    mid: (section, value) => {
      if (!MID.test(value)) {
        throw malformed('a=mid must be 1…32 visible characters');
      }
      section.mid = value;
    },
    'bundle-only': (section) => {
      section.bundleOnly = true;
    },
    sendrecv: (section) => {
      section.direction = 'sendrecv';
    },
    sendonly: (section) => {
      section.direction = 'sendonly';
    },
    recvonly: (section) => {
      section.direction = 'recvonly';
    },
    inactive: (section) => {
      section.direction = 'inactive';
    },
    msid: (section, value) => {
      const [stream = '', track = ''] = value.split(' ');
      section.streamId = stream === '-' ? '' : stream;
      section.trackId = track;
      addMsid(section.msids, value);
    },
    rtpmap: (section, value) => {
      const [payload, encoding = ''] = value.split(' ');
      const [name = '', clock, channels] = encoding.split('/');
      section.rtpmaps.set(integer(payload, 0, 127, 'rtpmap payload type'), {
        name,
        clockRateHz: integer(clock, 1, 1_000_000, 'rtpmap clock rate'),
        channels: channels === undefined ? 1 : integer(channels, 1, 32, 'rtpmap channels'),
      });
    },
    fmtp: (section, value) => {
      const space = value.indexOf(' ');
      const payload = integer(space < 0 ? value : value.slice(0, space), 0, 127, 'fmtp payload type');
      section.fmtps.set(payload, space < 0 ? '' : value.slice(space + 1).trim());
    },
    'rtcp-fb': (section, value) => {
      const [payload = '', ...words] = value.split(' ');
      const targets =
        payload === '*' ? section.payloadTypes : [integer(payload, 0, 127, 'rtcp-fb payload type')];
      for (const target of targets) {
        const list = section.feedback.get(target) ?? [];
        if (list.length < 16) {
          section.feedback.set(target, [...list, words.join(' ')]);
        }
      }
    },
    extmap: (section, value) => {
      const [idAndDirection = '', uri = ''] = value.split(' ');
      if (section.extensions.size >= SDP_LIMITS.maxExtensionsPerSection) {
        throw malformed(`more than ${SDP_LIMITS.maxExtensionsPerSection} header extensions`);
      }
      section.extensions.set(uri, integer(idAndDirection.split('/')[0], 1, 255, 'extmap id'));
    },
    rid: (section, value) => {
      const [rid = '', direction = ''] = value.split(' ');
      const list = direction === 'recv' ? section.recvRids : section.sendRids;
      if (list.length >= SDP_LIMITS.maxRidsPerSection || !/^[A-Za-z0-9_-]{1,16}$/.test(rid)) {
        throw malformed(`a=rid must be 1…16 letters or digits, at most ${SDP_LIMITS.maxRidsPerSection}`);
      }
      list.push(rid);
    },
    ssrc: (section, value) => {
      if (section.ssrcs.size >= SDP_LIMITS.maxSourcesPerSection) {
        throw malformed(`more than ${SDP_LIMITS.maxSourcesPerSection} SSRCs in one media section`);
      }
      section.ssrcs.add(integer(value.split(' ')[0], 0, 0xffffffff, 'ssrc'));
      const msid = / msid:(.*)$/.exec(value)?.[1];
      if (msid !== undefined) {
        addMsid(section.sourceMsids, msid);
      }
    },
    'ssrc-group': (section, value) => {
      const [semantics, primary, rtx] = value.split(' ');
      if (semantics === 'FID' && section.fid.size < SDP_LIMITS.maxSourcesPerSection) {
        section.fid.set(
          integer(primary, 0, 0xffffffff, 'ssrc-group ssrc'),
          integer(rtx, 0, 0xffffffff, 'ssrc-group ssrc'),
        );
      }
    },
    candidate: (section, value) => {
      if (section.candidates.length < SDP_LIMITS.maxCandidates) {
        section.candidates.push(`candidate:${value}`);
      }
    },
  } satisfies Record<string, (section: SectionDraft, value: string) => void>),
);

function addMsid(msids: Set<string>, value: string): void {
  if (msids.size < SDP_LIMITS.maxSourcesPerSection) {
    msids.add(value.trim());
  }
}

function finishSession(
  session: Attributes & { iceLite: boolean },
  drafts: readonly SectionDraft[],
): SessionDescription {
  const media = drafts.map(finishSection);
  const mids = media.filter((section) => !section.rejected).map((section) => section.mid);
  if (mids.includes('')) {
    throw malformed('a media section has no a=mid');
  }
  if (new Set(mids).size !== mids.length) {
    throw malformed('two media sections have the same a=mid');
  }
  // BUNDLE: transport attributes of the first live section count for all (RFC 9143 section 7.3).
  const first = drafts.find((draft) => draft.port !== 0 || draft.bundleOnly);
  const pick = (name: 'iceUfrag' | 'icePwd' | 'fingerprint'): string =>
    first === undefined || first[name] === '' ? session[name] : first[name];
  const iceUfrag = pick('iceUfrag');
  const icePwd = pick('icePwd');
  const fingerprint = pick('fingerprint');
  if (!ICE_UFRAG.test(iceUfrag) || !ICE_PWD.test(icePwd)) {
    throw malformed('a=ice-ufrag or a=ice-pwd is missing or not 4…256 / 22…256 ice characters');
  }
  if (!FINGERPRINT.test(fingerprint)) {
    throw malformed('no usable a=fingerprint:sha-256');
  }
  const setup = first?.setup !== undefined && first.setup !== '' ? first.setup : session.setup;
  return {
    iceUfrag,
    icePwd,
    iceLite: session.iceLite,
    fingerprint,
    setup: setup === '' ? 'actpass' : setup,
    candidates: first?.candidates ?? [],
    media,
  };
}

function finishSection(draft: SectionDraft): SdpMediaSection {
  const rtxByPrimary = new Map<number, number>();
  for (const [payloadType, map] of draft.rtpmaps) {
    const apt = /(?:^|;)\s*apt=(\d{1,3})/.exec(draft.fmtps.get(payloadType) ?? '')?.[1];
    if (map.name.toLowerCase() === 'rtx' && apt !== undefined) {
      rtxByPrimary.set(Number(apt), payloadType);
    }
  }
  const codecs: SdpCodec[] = [];
  for (const payloadType of draft.payloadTypes) {
    const map = draft.rtpmaps.get(payloadType);
    if (map !== undefined && map.name.toLowerCase() !== 'rtx') {
      codecs.push({
        payloadType,
        ...map,
        fmtp: draft.fmtps.get(payloadType) ?? '',
        feedback: draft.feedback.get(payloadType) ?? [],
        rtxPayloadType: rtxByPrimary.get(payloadType) ?? 0,
      });
    }
  }
  const rtxSsrcs = new Set(draft.fid.values());
  const sources: SdpSource[] = [...draft.ssrcs]
    .filter((ssrc) => !rtxSsrcs.has(ssrc))
    .map((ssrc) => ({ ssrc, rtxSsrc: draft.fid.get(ssrc) ?? 0 }));
  return {
    kind: draft.kind,
    mediaType: draft.mediaType,
    protocol: draft.protocol,
    rejected: draft.port === 0 && !draft.bundleOnly,
    mid: draft.mid,
    direction: DIRECTIONS.has(draft.direction) ? draft.direction : 'sendrecv',
    streamId: draft.streamId,
    trackId: draft.trackId,
    msids: [...(draft.sourceMsids.size > draft.msids.size ? draft.sourceMsids : draft.msids)],
    codecs,
    extensions: draft.extensions,
    sendRids: draft.sendRids,
    recvRids: draft.recvRids,
    sources,
  };
}
