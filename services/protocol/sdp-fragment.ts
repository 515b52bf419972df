import { ServiceError } from '../base/errors.ts';
import { SDP_LIMITS } from './sdp-types.ts';

/** What an SDP fragment (RFC 8840) tells about ICE; '' = not told. */
export type SdpFragment = {
  iceUfrag: string;
  icePwd: string;
  /** `SHA-256 AB:CD…`, upper case. */
  fingerprint: string;
  candidates: string[];
};

const ICE_CHARS = /^[A-Za-z0-9+/=_-]+$/;
const LINE = /^[a-z]=/;

/**
 * Reads the body of a WHIP PATCH. Everything is bundled, so the first ufrag and password count for all sections.
 * @throws ServiceError invalid_argument saying what is wrong.
 */
export function parseSdpFragment(text: string): SdpFragment {
  const fragment: SdpFragment = { iceUfrag: '', icePwd: '', fingerprint: '', candidates: [] };
  for (const line of text.split(/\r?\n/)) {
    if (line === '') {
      continue;
    }
    if (!LINE.test(line) || line.length > SDP_LIMITS.maxLineBytes) {
      throw malformed('every line must be of the form a=…');
    }
    const [, name = '', value = ''] = /^a=([a-z-]+):(.*)$/.exec(line) ?? [];
    if (name === 'ice-ufrag') {
      fragment.iceUfrag ||= credential(value, 4, name);
    } else if (name === 'ice-pwd') {
      fragment.icePwd ||= credential(value, 22, name);
    } else if (name === 'fingerprint') {
      fragment.fingerprint ||= value.trim().toUpperCase();
    } else if (name === 'candidate') {
      fragment.candidates.push(`candidate:${value.trim()}`);
      if (fragment.candidates.length > SDP_LIMITS.maxCandidates) {
        throw malformed(`more than ${SDP_LIMITS.maxCandidates} candidates`);
      }
    }
  }
  return fragment;
}

/** RFC 8839 section 5.4. */
function credential(value: string, minLength: number, name: string): string {
  const trimmed = value.trim();
  if (trimmed.length < minLength || trimmed.length > 256 || !ICE_CHARS.test(trimmed)) {
    throw malformed(`a=${name} must be ${minLength}…256 ice characters`);
  }
  return trimmed;
}

function malformed(what: string): ServiceError {
  return new ServiceError('invalid_argument', `malformed SDP fragment: ${what}`);
}

/** The answer to an ICE restart: new credentials and candidates of an ICE-lite server (RFC 9725 section 4.3.3). */
export function writeSdpFragment(spec: {
  iceUfrag: string;
  icePwd: string;
  candidates: readonly string[];
  sections: readonly { kind: string; mid: string; protocol: string }[];
}): string {
  const [first] = spec.sections;
  const lines = [
    'a=ice-lite',
    `a=group:BUNDLE ${spec.sections.map(({ mid }) => mid).join(' ')}`,
    ...(first === undefined ? [] : [`m=${first.kind} 9 ${first.protocol} 0`, `a=mid:${first.mid}`]),
    `a=ice-ufrag:${spec.iceUfrag}`,
    `a=ice-pwd:${spec.icePwd}`,
    ...spec.candidates.map((candidate) => `a=${candidate}`),
    'a=end-of-candidates',
  ];
  return `${lines.join('\r\n')}\r\n`;
}
