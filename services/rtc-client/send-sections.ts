import { randomBytes } from 'node:crypto';
import type { SdpCodec, SessionDescription } from '../protocol/sdp.ts';
import { sendAgreement, type MediaSections, type SendAgreement, type SendSource } from './media-sections.ts';
import type { Pacer } from './pacer.ts';
import type { SendEntry, SendSide } from './rtcp-exchange.ts';
import { SendStream, type SendStreamOptions } from './send-stream.ts';

export type AddSendOptions = {
  kind: 'audio' | 'video';
  codecs: readonly SdpCodec[];
  trackId: string;
  /** One without a name, or the simulcast layers, lowest first. */
  encodings: readonly { rid: string; side: SendSide }[];
};

type Encoding = SendEntry & { rid: string; rtxSsrc: number };
type Section = { kind: 'audio' | 'video'; encodings: readonly Encoding[] };

/** Never 0, which stands for none. */
export function randomSsrc(): number {
  return randomBytes(4).readUInt32BE(0) || 1;
}

/** What one peer connection sends: its sections, and the RTP streams the server took. */
export class SendSections {
  readonly #sections: MediaSections;
  readonly #cname: string;
  readonly #shared: Pick<SendStreamOptions, 'pacer' | 'sendRtp'>;
  readonly #byMid = new Map<string, Section>();
  #transportSequence = 0;

  constructor(options: {
    sections: MediaSections;
    cname: string;
    pacer: Pacer;
    sendRtp: SendStreamOptions['sendRtp'];
  }) {
    this.#sections = options.sections;
    this.#cname = options.cname;
    this.#shared = { pacer: options.pacer, sendRtp: options.sendRtp };
  }

  /** Returns the mid. */
  add(options: AddSendOptions): string {
    const { kind, codecs, trackId } = options;
    const hasRtx = codecs.some((codec) => codec.rtxPayloadType !== 0);
    const encodings: Encoding[] = options.encodings.map(({ rid, side }) => ({
      ...{ rid, side, ssrc: randomSsrc(), rtxSsrc: hasRtx ? randomSsrc() : 0 },
      stream: undefined,
    }));
    const [only] = encodings.length === 1 ? encodings : [];
    const source: SendSource = {
      streamId: this.#cname,
      trackId,
      ssrc: only?.ssrc ?? 0,
      rtxSsrc: only?.rtxSsrc ?? 0,
      cname: this.#cname,
    };
    // RFC 8853 section 5.2: in order of preference.
    const rids = only === undefined ? encodings.map(({ rid }) => rid).reverse() : [];
    const mid = this.#sections.addSend({ kind, codecs, source, rids });
    this.#byMid.set(mid, { kind, encodings });
    return mid;
  }

  stop(mid: string): void {
    this.#sections.stopSend(mid);
    this.#byMid.delete(mid);
  }

  /** By restriction id; empty until the server has accepted the section. */
  streams(mid: string): ReadonlyMap<string, SendStream> {
    const encodings = this.#byMid.get(mid)?.encodings ?? [];
    return new Map(encodings.flatMap(({ rid, stream }) => (stream === undefined ? [] : [[rid, stream]])));
  }

  entries(): SendEntry[] {
    return [...this.#byMid.values()].flatMap(({ encodings }) => encodings);
  }

  /** Streams begin for what the answer newly accepts. */
  apply(answer: SessionDescription): void {
    for (const [mid, { kind, encodings }] of this.#byMid) {
      const agreement = sendAgreement(answer.media.find((section) => section.mid === mid));
      if (agreement !== undefined) {
        for (const encoding of wantedEncodings(encodings, agreement)) {
          encoding.stream ??= this.#createStream(mid, kind, encoding, agreement);
        }
      }
    }
  }

  #createStream(
    mid: string,
    kind: 'audio' | 'video',
    encoding: Encoding,
    agreement: SendAgreement,
  ): SendStream {
    return new SendStream({
      ...this.#shared,
      kind,
      ssrc: encoding.ssrc,
      rtxSsrc: agreement.rtxPayloadType === 0 ? 0 : encoding.rtxSsrc,
      payloadType: agreement.payloadType,
      rtxPayloadType: agreement.rtxPayloadType,
      mid,
      // A server without simulcast has never heard of the name.
      rid: agreement.rids.length === 0 ? '' : encoding.rid,
      cname: this.#cname,
      extensions: agreement.extensions,
      nextTransportSequence: () => {
        this.#transportSequence = (this.#transportSequence + 1) & 0xffff;
        return this.#transportSequence;
      },
    });
  }
}

/** All layers the server wants; the highest alone when it does no simulcast. */
function wantedEncodings(encodings: readonly Encoding[], agreement: SendAgreement): readonly Encoding[] {
  return agreement.rids.length === 0
    ? encodings.slice(-1)
    : encodings.filter(({ rid }) => agreement.rids.includes(rid));
}
