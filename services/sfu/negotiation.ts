import type { AudioCodec, VideoCodec } from '../model/packet.ts';
import { layersByRid, type TrackKind } from '../model/track.ts';
import {
  EXTENSION_URI,
  parseSdp,
  rejectSection,
  writeSdp,
  type SdpCodec,
  type SdpMediaSection,
  type SdpSectionSpec,
  type SessionDescription,
} from '../protocol/sdp.ts';
import { chooseForSubscriber, chooseFromPublisher } from './codec-choice.ts';
import type { HeaderExtensionIds, NegotiatedCodec, PeerTransport } from './media-types.ts';
import { CODEC_BY_NAME, type PublishedTrack } from './published-track.ts';
import type { ReceiveSections } from './receive-sections.ts';

export type SendingSection = { mid: string; kind: TrackKind; trackId: string; streamId: string };

/** The publishing side of a participant, as negotiation needs it. */
export type PublishingSide = {
  /** mid → announced track; sections whose track was not announced (yet) are left out. */
  claimAll(sections: readonly SendingSection[]): Map<string, PublishedTrack>;
  /** The tracks of the last answer by section. */
  readonly byMid: ReadonlyMap<string, PublishedTrack>;
  published(track: PublishedTrack, mid: string): void;
  /** The section no longer sends. */
  ended(track: PublishedTrack): void;
};

export type NegotiatedAnswer = { sdp: string; trackIdsByMid: Record<string, string> };

type AudioVideoSection = SdpMediaSection & { kind: TrackKind };

const MAX_DATA_MESSAGE_BYTES = 262_144;
const DATA_SCTP_PORT = 5000;

/** Header extensions in the order they are written. Placeholders get them too, see answerPlaceholder. */
const EXTENSIONS: Readonly<Record<TrackKind, readonly (keyof HeaderExtensionIds)[]>> = {
  audio: ['mid', 'audioLevel'],
  video: ['mid', 'rid', 'repairedRid', 'transportCc', 'absSendTime', 'dependencyDescriptor'],
};

const VIDEO_UPLINK_FEEDBACK = ['transport-cc', 'ccm fir', 'nack', 'nack pli'];
/** Subscribers report with REMB: with transport-cc granted they would stop sending it. */
const VIDEO_DOWNLINK_FEEDBACK = ['goog-remb', 'ccm fir', 'nack', 'nack pli'];

/**
 * Answers a client's offers on its one peer connection (`/rtc/v1`). Offers are idempotent: whatever the client
 * offers again is answered again the same way.
 */
export class Negotiation {
  readonly #transport: PeerTransport;
  readonly #publishing: PublishingSide;
  readonly #receiving: ReceiveSections;
  readonly #onUnsupportedCodec: (track: PublishedTrack) => void;
  readonly #sessionId = String(Date.now()) + String(Math.floor(Math.random() * 1e6));
  #version = 0;
  readonly #keepsGop: boolean;

  constructor(options: {
    transport: PeerTransport;
    publishing: PublishingSide;
    receiving: ReceiveSections;
    /** See PublicationOptions. */
    keepsGop: boolean;
    /** The client cannot receive this track: its offer has no such codec. */
    onUnsupportedCodec: (track: PublishedTrack) => void;
  }) {
    this.#onUnsupportedCodec = options.onUnsupportedCodec;
    this.#transport = options.transport;
    this.#publishing = options.publishing;
    this.#keepsGop = options.keepsGop;
    this.#receiving = options.receiving;
  }

  /** @throws ServiceError invalid_argument for SDP that cannot be answered; state is then unchanged. */
  async answer(offerSdp: string): Promise<NegotiatedAnswer> {
    const offer = parseSdp(offerSdp);
    await this.#transport.setRemote({
      ufrag: offer.iceUfrag,
      fingerprint: offer.fingerprint,
      role: offer.setup === 'passive' ? 'active' : 'passive',
    });
    this.#noteExtensions(offer);
    const audioVideo = offer.media.filter(
      (section): section is AudioVideoSection =>
        !section.rejected && (section.kind === 'audio' || section.kind === 'video'),
    );
    this.#endUnofferedPublications(audioVideo);
    const uplinks = new Map<string, SdpSectionSpec>();
    const sending = audioVideo.filter(sends);
    const claims = this.#publishing.claimAll(sending);
    for (const section of sending) {
      const uplink = this.#answerUplink(section, claims.get(section.mid));
      if (uplink !== undefined) {
        uplinks.set(section.mid, uplink);
      }
    }
    this.#receiving.offered(audioVideo.filter((section) => section.direction === 'recvonly'));
    const media = offer.media.map((section) => uplinks.get(section.mid) ?? this.#answerSection(section));
    this.#version += 1;
    const sdp = writeSdp({
      sessionId: this.#sessionId,
      version: this.#version,
      iceUfrag: this.#transport.localUfrag,
      icePwd: this.#transport.localPwd,
      iceLite: true,
      fingerprint: this.#transport.localFingerprint,
      setup: offer.setup === 'passive' ? 'active' : 'passive',
      candidates: this.#transport.candidates,
      endOfCandidates: true,
      media,
    });
    this.#receiving.answered();
    return { sdp, trackIdsByMid: this.#receiving.trackIdsByMid() };
  }

  #noteExtensions(offer: SessionDescription): void {
    const ids = this.#transport.media.extensions;
    for (const section of offer.media) {
      for (const name of Object.keys(EXTENSION_URI) as (keyof HeaderExtensionIds)[]) {
        const id = section.extensions.get(EXTENSION_URI[name]);
        if (id !== undefined) {
          ids[name] = id;
        }
      }
    }
  }

  /** Tracks whose section stopped sending, was stopped or is missing end before anything new is claimed. */
  #endUnofferedPublications(sections: readonly AudioVideoSection[]): void {
    const sending = new Set(sections.filter(sends).map((section) => section.mid));
    for (const [mid, track] of [...this.#publishing.byMid]) {
      if (!sending.has(mid)) {
        this.#transport.media.removePublication(mid);
        this.#publishing.ended(track);
      }
    }
  }

  #answerUplink(section: AudioVideoSection, track: PublishedTrack | undefined): SdpSectionSpec | undefined {
    const { media } = this.#transport;
    const before = this.#publishing.byMid.get(section.mid);
    const codec = track === undefined ? undefined : chooseFromPublisher(section.codecs, track);
    if (track === undefined || codec === undefined) {
      return undefined;
    }
    if (before !== undefined && before !== track) {
      media.removePublication(section.mid);
      this.#publishing.ended(before);
    }
    const name = CODEC_BY_NAME.get(codec.name.toLowerCase());
    if (name === undefined) {
      return undefined;
    }
    if (track.media === undefined) {
      const publication = media.addPublication({
        mid: section.mid,
        kind: section.kind,
        codec: negotiated(codec, name, section.kind),
        rids: section.sendRids,
        layerByRid: layersByRid(section.sendRids),
        ssrcs: new Map(section.sources.map((source) => [source.ssrc, source.rtxSsrc])),
        keepsGop: this.#keepsGop,
      });
      track.media = { publication, fmtp: codec.fmtp };
      track.negotiated(name, section.mid, section.sendRids.length > 1);
    }
    this.#publishing.published(track, section.mid);
    return {
      form: 'media',
      kind: section.kind,
      mid: section.mid,
      protocol: section.protocol,
      direction: 'recvonly',
      codecs: [withFeedback(codec, section.kind, offeredOf(VIDEO_UPLINK_FEEDBACK, codec))],
      extensions: extensionsOf(section),
      ...(section.sendRids.length > 1
        ? { simulcast: { direction: 'recv' as const, rids: section.sendRids } }
        : {}),
    };
  }

  #answerSection(section: SdpMediaSection): SdpSectionSpec {
    if (section.rejected || section.kind === 'other') {
      return rejectSection(section);
    }
    if (section.kind === 'application') {
      return {
        form: 'data',
        mid: section.mid,
        protocol: section.protocol,
        sctpPort: DATA_SCTP_PORT,
        maxMessageBytes: MAX_DATA_MESSAGE_BYTES,
      };
    }
    const audioVideo = { ...section, kind: section.kind };
    return this.#answerDownlink(audioVideo) ?? answerPlaceholder(audioVideo);
  }

  #answerDownlink(section: AudioVideoSection): SdpSectionSpec | undefined {
    const subscription = section.direction === 'recvonly' ? this.#receiving.at(section.mid) : undefined;
    const track = subscription?.track;
    const forwarder = subscription?.prepare();
    if (subscription === undefined || forwarder === undefined || track?.media === undefined) {
      return undefined;
    }
    const codec = chooseForSubscriber(section.codecs, forwarder.publication.codec.name, track.media.fmtp);
    if (codec === undefined) {
      this.#receiving.remove(subscription);
      this.#onUnsupportedCodec(track);
      return undefined;
    }
    const video = section.kind === 'video';
    const rtxPayloadType = video ? codec.rtxPayloadType : 0;
    const extensions = extensionsOf(section);
    const { name } = forwarder.publication.codec;
    subscription.plan({
      mid: section.mid,
      payloadType: codec.payloadType,
      rtxPayloadType,
      absSendTimeId: video ? (extensions.get(EXTENSION_URI.absSendTime) ?? 0) : 0,
      transportCcId: 0,
      dependencyDescriptorId:
        name === 'av1' || name === 'vp9' ? (extensions.get(EXTENSION_URI.dependencyDescriptor) ?? 0) : 0,
    });
    return {
      form: 'media',
      kind: section.kind,
      mid: section.mid,
      protocol: section.protocol,
      direction: 'sendonly',
      codecs: [withFeedback(codec, section.kind, VIDEO_DOWNLINK_FEEDBACK)],
      extensions,
      source: {
        // Clients read the publisher from it; tracks of one stream get lip sync (LiveKit's packed sync stream id).
        streamId: `${track.publisherSid}|${track.info.stream}`,
        trackId: track.sid,
        ssrc: forwarder.ssrc,
        rtxSsrc: rtxPayloadType === 0 ? 0 : forwarder.rtxSsrc,
        cname: track.publisherSid,
      },
    };
  }
}

function sends(section: SdpMediaSection): boolean {
  return section.direction === 'sendonly' || section.direction === 'sendrecv';
}

function extensionsOf(section: AudioVideoSection): Map<string, number> {
  const accepted = new Map<string, number>();
  for (const name of EXTENSIONS[section.kind]) {
    const id = section.extensions.get(EXTENSION_URI[name]);
    if (id !== undefined) {
      accepted.set(EXTENSION_URI[name], id);
    }
  }
  return accepted;
}

/** An answer may only narrow the offer down (RFC 4585 section 4.2). */
function offeredOf(feedback: readonly string[], codec: SdpCodec): readonly string[] {
  return feedback.filter((value) => codec.feedback.includes(value));
}

function withFeedback(codec: SdpCodec, kind: TrackKind, feedback: readonly string[]): SdpCodec {
  return kind === 'video' ? { ...codec, feedback } : { ...codec, feedback: [], rtxPayloadType: 0 };
}

function negotiated(codec: SdpCodec, name: VideoCodec | AudioCodec, kind: TrackKind): NegotiatedCodec {
  return {
    name,
    payloadType: codec.payloadType,
    rtxPayloadType: kind === 'video' ? codec.rtxPayloadType : 0,
    clockRateHz: codec.clockRateHz,
  };
}

/**
 * An unused section stays open as inactive. It must accept every header extension already: what the first answer
 * leaves out, Chromium never offers again on that connection, and bandwidth estimation crawls.
 */
function answerPlaceholder(section: AudioVideoSection): SdpSectionSpec {
  const [codec] = section.codecs;
  if (codec === undefined) {
    return rejectSection(section);
  }
  return {
    form: 'media',
    kind: section.kind,
    mid: section.mid,
    protocol: section.protocol,
    direction: 'inactive',
    codecs: [{ ...codec, feedback: [], rtxPayloadType: 0 }],
    extensions: extensionsOf(section),
  };
}
