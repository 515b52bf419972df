import { randomInt } from 'node:crypto';
import {
  EXTENSION_URI,
  writeSdp,
  type SdpCodec,
  type SdpMediaSection,
  type SdpSectionSpec,
  type SessionDescription,
} from '../protocol/sdp.ts';
import { MAX_MESSAGE_BYTES, SCTP_PORT } from './data-channels.ts';
import { RECEIVE_CODECS, type ReceiveCodecs } from './codec-offer.ts';

const RTP_PROTOCOL = 'UDP/TLS/RTP/SAVPF';
const DATA_PROTOCOL = 'UDP/DTLS/SCTP';

/** One id per extension on the whole connection; ids 1–14 fit the one-byte form. */
const EXTENSIONS: Readonly<Record<'audio' | 'video', ReadonlyMap<string, number>>> = {
  audio: new Map([
    [EXTENSION_URI.audioLevel, 1],
    [EXTENSION_URI.mid, 4],
  ]),
  video: new Map([
    [EXTENSION_URI.absSendTime, 2],
    [EXTENSION_URI.transportCc, 3],
    [EXTENSION_URI.mid, 4],
  ]),
};
export const MID_EXTENSION_ID = 4;
const SIMULCAST_EXTENSIONS: ReadonlyMap<string, number> = new Map([
  ...EXTENSIONS.video,
  [EXTENSION_URI.rid, 10],
  [EXTENSION_URI.repairedRid, 11],
]);

/** ssrc 0: there are several, told apart by restriction ids. */
export type SendSource = { streamId: string; trackId: string; ssrc: number; rtxSsrc: number; cname: string };

type Section =
  | { form: 'data'; mid: string }
  | { form: 'receive'; kind: 'audio' | 'video'; mid: string }
  | {
      form: 'send';
      kind: 'audio' | 'video';
      mid: string;
      codecs: readonly SdpCodec[];
      source: SendSource;
      /** Simulcast, highest first; [] = one stream. */
      rids: readonly string[];
      active: boolean;
    };

export type OfferTransport = { iceUfrag: string; icePwd: string; fingerprint: string };

/**
 * The media sections of the client's peer connection. Sections are only ever appended (RFC 9429 §5.2.2); what is no
 * longer sent stays as inactive.
 */
export class MediaSections {
  readonly #sessionId = String(randomInt(1, 2 ** 47));
  readonly #sections: Section[] = [];
  readonly #receiveCodecs: ReceiveCodecs;
  #version = 1;

  constructor(
    receive: { audio: number; video: number },
    { receivesEveryCodec }: { receivesEveryCodec: boolean },
  ) {
    this.#receiveCodecs = RECEIVE_CODECS[receivesEveryCodec ? 'every' : 'recordable'];
    this.#sections.push({ form: 'data', mid: '0' });
    this.addReceive(receive);
  }

  /** Sections for the server to put subscribed tracks on. */
  addReceive(count: { audio: number; video: number }): void {
    for (const kind of ['audio', 'video'] as const) {
      for (let index = 0; index < count[kind]; index += 1) {
        this.#sections.push({ form: 'receive', kind, mid: this.#nextMid() });
      }
    }
  }

  /** Returns the mid of a new section that sends. */
  addSend(options: {
    kind: 'audio' | 'video';
    codecs: readonly SdpCodec[];
    source: SendSource;
    rids?: readonly string[];
  }): string {
    const mid = this.#nextMid();
    this.#sections.push({ form: 'send', mid, active: true, rids: [], ...options });
    return mid;
  }

  stopSend(mid: string): void {
    const section = this.#sections.find((candidate) => candidate.mid === mid);
    if (section?.form === 'send') {
      section.active = false;
    }
  }

  /** The next offer, without candidates: they are trickled. */
  offer(transport: OfferTransport): string {
    const version = this.#version;
    this.#version += 1;
    return writeSdp({
      sessionId: this.#sessionId,
      version,
      ...transport,
      iceLite: false,
      setup: 'actpass',
      candidates: [],
      endOfCandidates: false,
      media: this.#sections.map((section) => toSpec(section, this.#receiveCodecs)),
    });
  }

  #nextMid(): string {
    return String(this.#sections.length);
  }
}

function toSpec(section: Section, receiveCodecs: ReceiveCodecs): SdpSectionSpec {
  if (section.form === 'data') {
    return {
      form: 'data',
      mid: section.mid,
      protocol: DATA_PROTOCOL,
      sctpPort: SCTP_PORT,
      maxMessageBytes: MAX_MESSAGE_BYTES,
    };
  }
  const common = {
    form: 'media' as const,
    kind: section.kind,
    mid: section.mid,
    protocol: RTP_PROTOCOL,
    extensions: EXTENSIONS[section.kind],
  };
  if (section.form === 'receive') {
    return { ...common, direction: 'recvonly', codecs: receiveCodecs[section.kind] };
  }
  if (!section.active) {
    return { ...common, direction: 'inactive', codecs: section.codecs };
  }
  const { codecs, source, rids } = section;
  return {
    ...{ ...common, direction: 'sendonly', codecs, source },
    ...(rids.length === 0
      ? {}
      : { extensions: SIMULCAST_EXTENSIONS, simulcast: { direction: 'send', rids } as const }),
  };
}

/** What the answer says about a section we send on; undefined when the server does not take it. */
export type SendAgreement = {
  payloadType: number;
  rtxPayloadType: number;
  extensions: { mid: number; transportCc: number; absSendTime: number; rid: number; repairedRid: number };
  /** The layers it wants; [] = one stream without a name. */
  rids: readonly string[];
};

export function sendAgreement(answer: SdpMediaSection | undefined): SendAgreement | undefined {
  const codec = answer?.codecs[0];
  if (answer === undefined || codec === undefined || answer.rejected) {
    return undefined;
  }
  if (answer.direction !== 'recvonly' && answer.direction !== 'sendrecv') {
    return undefined;
  }
  return {
    payloadType: codec.payloadType,
    rtxPayloadType: codec.rtxPayloadType,
    extensions: {
      mid: answer.extensions.get(EXTENSION_URI.mid) ?? 0,
      transportCc: answer.extensions.get(EXTENSION_URI.transportCc) ?? 0,
      absSendTime: answer.extensions.get(EXTENSION_URI.absSendTime) ?? 0,
      rid: answer.extensions.get(EXTENSION_URI.rid) ?? 0,
      repairedRid: answer.extensions.get(EXTENSION_URI.repairedRid) ?? 0,
    },
    rids: answer.recvRids,
  };
}

/** A section on which the server sends a track. */
export type ReceiveSection = {
  mid: string;
  trackSid: string;
  /** Usually one: the publisher's. */
  codecs: readonly SdpCodec[];
  /** 0 = not announced. */
  ssrc: number;
  rtxSsrc: number;
  /** 0: the server does not ask for transport-wide feedback. */
  transportCcId: number;
};

/** The answer's map tells which track is on which section; servers that leave it out name the track in a=msid. */
export function receiveSections(
  answer: SessionDescription,
  midToTrackId: Readonly<Record<string, string>>,
): ReceiveSection[] {
  const receiving: ReceiveSection[] = [];
  for (const section of answer.media) {
    const sends = section.direction === 'sendonly' || section.direction === 'sendrecv';
    const isMedia = section.kind === 'audio' || section.kind === 'video';
    const trackSid = midToTrackId[section.mid] ?? section.trackId;
    if (section.rejected || !sends || !isMedia || section.codecs.length === 0 || trackSid === '') {
      continue;
    }
    const [source] = section.sources;
    const transportCc = section.codecs.some((codec) => codec.feedback.includes('transport-cc'));
    receiving.push({
      mid: section.mid,
      trackSid,
      codecs: section.codecs,
      ssrc: source?.ssrc ?? 0,
      rtxSsrc: source?.rtxSsrc ?? 0,
      transportCcId: transportCc ? (section.extensions.get(EXTENSION_URI.transportCc) ?? 0) : 0,
    });
  }
  return receiving;
}

export function wantsRemb(section: ReceiveSection): boolean {
  return section.codecs.some((codec) => codec.feedback.includes('goog-remb'));
}
