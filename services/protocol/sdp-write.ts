import type { SdpCodec, SdpDirection, SdpMediaSection, SdpSetup } from './sdp-types.ts';

/** One media section to write. Everything is explicit: the writer adds nothing of its own. */
export type SdpSectionSpec =
  | { form: 'rejected'; mediaType: string; protocol: string; mid: string; format: string }
  | { form: 'data'; mid: string; protocol: string; sctpPort: number; maxMessageBytes: number }
  | {
      form: 'media';
      kind: 'audio' | 'video';
      mid: string;
      protocol: string;
      direction: SdpDirection;
      codecs: readonly SdpCodec[];
      /** URI → id, written in this order. */
      extensions: ReadonlyMap<string, number>;
      /** Simulcast: rids and which way they flow, seen from the writer. */
      simulcast?: { direction: 'send' | 'recv'; rids: readonly string[] };
      /** What the writer sends: msid and SSRCs. ssrc 0: restriction ids name the streams instead. */
      source?: { streamId: string; trackId: string; ssrc: number; rtxSsrc: number; cname: string };
    };

export type SdpSpec = {
  /** Numeric origin id, constant for the session. */
  sessionId: string;
  /** Rises with every description of the session (RFC 8866 section 5.2). */
  version: number;
  iceUfrag: string;
  icePwd: string;
  iceLite: boolean;
  fingerprint: string;
  setup: SdpSetup;
  /** `candidate:…` lines without `a=`. */
  candidates: readonly string[];
  /** true: no more candidates follow. */
  endOfCandidates: boolean;
  media: readonly SdpSectionSpec[];
};

/** Writes an offer or answer; all live sections are bundled on one transport. */
export function writeSdp(spec: SdpSpec): string {
  const bundled = spec.media.filter((section) => section.form !== 'rejected').map((section) => section.mid);
  const lines = [
    'v=0',
    `o=- ${spec.sessionId} ${spec.version} IN IP4 0.0.0.0`,
    's=-',
    't=0 0',
    ...(bundled.length > 0 ? [`a=group:BUNDLE ${bundled.join(' ')}`] : []),
    'a=msid-semantic: WMS *',
    'a=extmap-allow-mixed',
    ...(spec.iceLite ? ['a=ice-lite'] : []),
  ];
  const transport = [
    `a=ice-ufrag:${spec.iceUfrag}`,
    `a=ice-pwd:${spec.icePwd}`,
    `a=fingerprint:sha-256 ${spec.fingerprint}`,
    `a=setup:${spec.setup}`,
    ...spec.candidates.map((candidate) => `a=${candidate}`),
    ...(spec.endOfCandidates ? ['a=end-of-candidates'] : []),
  ];
  for (const section of spec.media) {
    switch (section.form) {
      case 'rejected':
        lines.push(
          `m=${section.mediaType} 0 ${section.protocol} ${section.format}`,
          'c=IN IP4 0.0.0.0',
          ...(section.mid === '' ? [] : [`a=mid:${section.mid}`]),
          'a=inactive',
        );
        break;
      case 'data':
        lines.push(
          `m=application 9 ${section.protocol} webrtc-datachannel`,
          'c=IN IP4 0.0.0.0',
          `a=mid:${section.mid}`,
          ...transport,
          `a=sctp-port:${section.sctpPort}`,
          `a=max-message-size:${section.maxMessageBytes}`,
        );
        break;
      case 'media':
        lines.push(...mediaLines(section, transport));
        break;
    }
  }
  return lines.join('\r\n') + '\r\n';
}

function mediaLines(
  section: Extract<SdpSectionSpec, { form: 'media' }>,
  transport: readonly string[],
): string[] {
  const formats = section.codecs.flatMap((codec) =>
    codec.rtxPayloadType === 0 ? [codec.payloadType] : [codec.payloadType, codec.rtxPayloadType],
  );
  const { source, simulcast } = section;
  const lines = [
    `m=${section.kind} 9 ${section.protocol} ${formats.join(' ')}`,
    'c=IN IP4 0.0.0.0',
    `a=mid:${section.mid}`,
    ...transport,
    `a=${section.direction}`,
    'a=rtcp-mux',
    'a=rtcp-rsize',
  ];
  for (const [uri, id] of section.extensions) {
    lines.push(`a=extmap:${id} ${uri}`);
  }
  for (const codec of section.codecs) {
    const channels = codec.channels > 1 ? `/${codec.channels}` : '';
    lines.push(`a=rtpmap:${codec.payloadType} ${codec.name}/${codec.clockRateHz}${channels}`);
    lines.push(...codec.feedback.map((feedback) => `a=rtcp-fb:${codec.payloadType} ${feedback}`));
    if (codec.fmtp !== '') {
      lines.push(`a=fmtp:${codec.payloadType} ${codec.fmtp}`);
    }
    if (codec.rtxPayloadType !== 0) {
      lines.push(
        `a=rtpmap:${codec.rtxPayloadType} rtx/${codec.clockRateHz}`,
        `a=fmtp:${codec.rtxPayloadType} apt=${codec.payloadType}`,
      );
    }
  }
  if (simulcast !== undefined && simulcast.rids.length > 1) {
    lines.push(...simulcast.rids.map((rid) => `a=rid:${rid} ${simulcast.direction}`));
    lines.push(`a=simulcast:${simulcast.direction} ${simulcast.rids.join(';')}`);
  }
  if (source !== undefined) {
    const msid = `${source.streamId === '' ? '-' : source.streamId} ${source.trackId}`;
    lines.push(`a=msid:${msid}`);
    if (source.rtxSsrc !== 0) {
      lines.push(`a=ssrc-group:FID ${source.ssrc} ${source.rtxSsrc}`);
    }
    for (const ssrc of [source.ssrc, source.rtxSsrc].filter((ssrc) => ssrc !== 0)) {
      lines.push(`a=ssrc:${ssrc} cname:${source.cname}`, `a=ssrc:${ssrc} msid:${msid}`);
    }
  }
  return lines;
}

/** The section an answer needs when the offered one cannot be used: port 0 (RFC 9429 section 5.3.1). */
export function rejectSection(offered: SdpMediaSection): SdpSectionSpec {
  return {
    form: 'rejected',
    mediaType: offered.mediaType,
    protocol: offered.protocol,
    mid: offered.mid,
    format:
      offered.kind === 'application' ? 'webrtc-datachannel' : String(offered.codecs[0]?.payloadType ?? 0),
  };
}
