import { ServiceError } from '../../base/errors.ts';
import type { TrackKind } from '../../model/track.ts';
import { parseSdp, type SdpMediaSection, type SessionDescription } from '../../protocol/sdp.ts';

export type WhipSection = SdpMediaSection & { kind: TrackKind };
export type WhipOffer = { description: SessionDescription; sections: WhipSection[] };

/** As in rtpmap lines, lower case. */
const ACCEPTED: Readonly<Record<TrackKind, readonly string[]>> = {
  audio: ['opus'],
  video: ['h264', 'vp8', 'vp9', 'av1', 'h265'],
};
const OPUS = { clockRateHz: 48_000, channels: 2 };

/**
 * Takes an encoder's offer whole or refuses it whole (RFC 9725 section 4.2): a session that answers only a part would
 * look like success to the encoder.
 * @throws ServiceError 400 for what is not SDP, 406 for codecs, 422 for shapes a WHIP session cannot have.
 */
export function parseWhipOffer(sdp: string): WhipOffer {
  const description = parseSdp(sdp);
  const sections: WhipSection[] = [];
  for (const section of description.media) {
    if (!isAudioOrVideo(section)) {
      throw unprocessable(`an m=${section.mediaType} section; WHIP carries audio and video only`);
    }
    if (section.rejected) {
      throw unprocessable(`the m=${section.kind} section has port 0`);
    }
    if (section.direction !== 'sendonly' && section.direction !== 'sendrecv') {
      throw unprocessable(`the m=${section.kind} section is ${section.direction}; it must be sendonly`);
    }
    if (sections.some(({ kind }) => kind === section.kind)) {
      throw unprocessable(`more than one m=${section.kind} section; send one of each kind`);
    }
    if (section.msids.length > 1) {
      throw unprocessable(
        `${section.msids.length} a=msid in the m=${section.kind} section; send one track of each kind`,
      );
    }
    checkCodecs(section);
    sections.push(section);
  }
  if (sections.length === 0) {
    throw unprocessable('neither an m=audio nor an m=video section');
  }
  if (sections.length > 1 && !/^a=group:BUNDLE \S+ \S/m.test(sdp)) {
    throw unprocessable('audio and video are not bundled (a=group:BUNDLE)');
  }
  if (!/^a=rtcp-mux(-only)?\s*$/m.test(sdp)) {
    throw unprocessable('RTCP is not multiplexed with RTP (a=rtcp-mux)');
  }
  return { description, sections };
}

function isAudioOrVideo(section: SdpMediaSection): section is WhipSection {
  return section.kind === 'audio' || section.kind === 'video';
}

function checkCodecs({ kind, codecs }: WhipSection): void {
  const usable = codecs.some(
    ({ name, clockRateHz, channels }) =>
      ACCEPTED[kind].includes(name.toLowerCase()) &&
      (kind === 'video' || (clockRateHz === OPUS.clockRateHz && channels === OPUS.channels)),
  );
  if (!usable) {
    const offered = [...new Set(codecs.map(({ name }) => name.slice(0, 32)))].slice(0, 16).join(', ');
    throw new ServiceError(
      'invalid_argument',
      `no ${kind} codec of the offer can be forwarded (${offered || 'none named'}): use ${ACCEPTED[kind].join(', ')}`,
      { httpStatus: 406 },
    );
  }
}

function unprocessable(what: string): ServiceError {
  return new ServiceError('invalid_argument', `the offer cannot be accepted: ${what}`, { httpStatus: 422 });
}
