import { extensionText, rtpPayloadType } from '../../media/rtp/rtp-header.ts';
import type { HeaderExtensionIds } from '../media-types.ts';
import { InboundStream } from './inbound-stream.ts';
import type { TrackPublication } from './track-publication.ts';

/** Media and RTX streams of one peer; a camera with three layers and RTX has six. */
const MAX_STREAMS = 128;
const GUESS_AFTER_SILENCE_MS = 2_000;

/**
 * Finds out to which publication and layer an SSRC belongs: by what SDP announced, by MID and RID (RFC 8843 §9.2,
 * RFC 8852), and last by a payload type only one publication has. RIDs are only unique within a MID.
 */
export class StreamDemux {
  readonly #extensions: HeaderExtensionIds;
  readonly #streams = new Map<number, InboundStream>();
  readonly #publications = new Map<InboundStream, TrackPublication>();
  readonly #byMid = new Map<string, TrackPublication>();

  constructor(extensions: HeaderExtensionIds) {
    this.#extensions = extensions;
  }

  get streams(): IterableIterator<InboundStream> {
    return this.#streams.values();
  }

  get publications(): IterableIterator<TrackPublication> {
    return this.#byMid.values();
  }

  publicationByMid(mid: string): TrackPublication | undefined {
    return this.#byMid.get(mid);
  }

  publicationOf(stream: InboundStream): TrackPublication | undefined {
    return this.#publications.get(stream);
  }

  streamBySsrc(ssrc: number): InboundStream | undefined {
    return this.#streams.get(ssrc);
  }

  addPublication(publication: TrackPublication): void {
    this.#byMid.set(publication.mid, publication);
    if (publication.options.rids.length > 1) {
      return;
    }
    for (const [ssrc, rtxSsrc] of publication.options.ssrcs) {
      const media = this.#addMedia(publication, ssrc, '', 0);
      if (media !== undefined && rtxSsrc !== 0) {
        this.#addRtx(publication, rtxSsrc, media);
      }
    }
  }

  removePublication(mid: string): TrackPublication | undefined {
    const publication = this.#byMid.get(mid);
    this.#byMid.delete(mid);
    for (const [ssrc, stream] of this.#streams) {
      if (this.#publications.get(stream) === publication) {
        this.#streams.delete(ssrc);
        this.#publications.delete(stream);
      }
    }
    return publication;
  }

  /** For an authenticated packet of an unknown SSRC; undefined when it cannot be placed (yet). */
  place(packet: Buffer, ssrc: number): InboundStream | undefined {
    const mid = extensionText(packet, this.#extensions.mid);
    const publication = mid === '' ? this.#byPayloadType(rtpPayloadType(packet)) : this.#byMid.get(mid);
    if (publication === undefined) {
      return undefined;
    }
    const { options, codec } = publication;
    const rid = extensionText(packet, this.#extensions.rid);
    if (rid !== '') {
      return this.#addMedia(publication, ssrc, rid, layerOf(publication, rid));
    }
    const repairedRid = extensionText(packet, this.#extensions.repairedRid);
    const isRtx = codec.rtxPayloadType !== 0 && rtpPayloadType(packet) === codec.rtxPayloadType;
    if (repairedRid !== '' || isRtx) {
      const layer = repairedRid === '' ? 0 : layerOf(publication, repairedRid);
      const media = publication.streamOf(layer);
      return media === undefined ? undefined : this.#addRtx(publication, ssrc, media);
    }
    // With simulcast a packet without RID could be any layer.
    return options.rids.length > 1 ? undefined : this.#addMedia(publication, ssrc, '', 0);
  }

  #byPayloadType(payloadType: number): TrackPublication | undefined {
    let found: TrackPublication | undefined;
    for (const publication of this.#byMid.values()) {
      const { codec, options } = publication;
      if (codec.payloadType === payloadType && options.rids.length <= 1) {
        if (found !== undefined) {
          return undefined;
        }
        found = publication;
      }
    }
    // A guess must not displace a stream that is alive.
    const current = found?.streamOf(0)?.lastPacketMs ?? Number.NEGATIVE_INFINITY;
    return performance.now() - current > GUESS_AFTER_SILENCE_MS ? found : undefined;
  }

  #addMedia(
    publication: TrackPublication,
    ssrc: number,
    rid: string,
    layer: number,
  ): InboundStream | undefined {
    const stream = new InboundStream({
      ssrc,
      role: { kind: 'media', layer, rid },
      clockRateHz: publication.codec.clockRateHz,
      nack: publication.kind === 'video',
      history:
        publication.keyframeCodec !== undefined && publication.options.keepsGop ? 'pictures' : 'repairs',
    });
    if (!this.#add(publication, stream)) {
      return undefined;
    }
    publication.addStream(stream, layer);
    return stream;
  }

  #addRtx(publication: TrackPublication, ssrc: number, repairs: InboundStream): InboundStream | undefined {
    const stream = new InboundStream({
      ssrc,
      role: { kind: 'rtx', repairs },
      clockRateHz: publication.codec.clockRateHz,
      nack: false,
    });
    return this.#add(publication, stream) ? stream : undefined;
  }

  #add(publication: TrackPublication, stream: InboundStream): boolean {
    if (this.#streams.size >= MAX_STREAMS) {
      return false;
    }
    this.#streams.set(stream.ssrc, stream);
    this.#publications.set(stream, publication);
    return true;
  }
}

function layerOf(publication: TrackPublication, rid: string): number {
  return publication.options.rids.length > 1 ? (publication.options.layerByRid.get(rid) ?? 0) : 0;
}
