import {
  EXTENSION_URI,
  writeSdp,
  type SdpCodec,
  type SdpSectionSpec,
} from '../../../../services/protocol/sdp.ts';

export type OfferedSection =
  | { kind: 'audio' | 'video'; direction: 'recvonly' | 'inactive' }
  | { kind: 'audio' | 'video'; direction: 'sendonly'; trackId: string; rids?: string[]; ssrc?: number };

const codec = (payloadType: number, name: string, fmtp = '', rtxPayloadType = 0): SdpCodec => ({
  payloadType,
  name,
  clockRateHz: name === 'opus' ? 48000 : 90000,
  channels: name === 'opus' ? 2 : 1,
  fmtp,
  feedback: [],
  rtxPayloadType,
});

const CODECS = {
  audio: [codec(111, 'opus', 'minptime=10;useinbandfec=1')],
  video: [
    codec(96, 'VP8', '', 97),
    codec(102, 'H264', 'level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f', 103),
  ],
};

const EXTENSIONS = new Map(Object.values(EXTENSION_URI).map((uri, index) => [uri, index + 1]));

/** An offer as a client of one peer connection writes it; mids are the positions, the last section is data. */
export function clientOffer(
  sections: readonly OfferedSection[],
  ice = { ufrag: 'cliu', version: 1 },
): string {
  const media = sections.map((section, index): SdpSectionSpec => {
    const sending = section.direction === 'sendonly' ? section : undefined;
    return {
      form: 'media',
      kind: section.kind,
      mid: String(index),
      protocol: 'UDP/TLS/RTP/SAVPF',
      direction: section.direction,
      codecs: CODECS[section.kind],
      extensions: EXTENSIONS,
      ...(sending?.rids === undefined ? {} : { simulcast: { direction: 'send', rids: sending.rids } }),
      ...(sending === undefined
        ? {}
        : {
            source: {
              streamId: 'stream',
              trackId: sending.trackId,
              ssrc: sending.ssrc ?? 500 + index,
              rtxSsrc: 0,
              cname: 'client',
            },
          }),
    };
  });
  return writeSdp({
    sessionId: '7',
    version: ice.version,
    iceUfrag: ice.ufrag,
    icePwd: 'a-client-password-24-chr',
    iceLite: false,
    fingerprint: Array.from({ length: 32 }, () => 'CD').join(':'),
    setup: 'actpass',
    candidates: [],
    endOfCandidates: false,
    media: [
      ...media,
      { form: 'data', mid: 'data', protocol: 'UDP/DTLS/SCTP', sctpPort: 5000, maxMessageBytes: 262144 },
    ],
  });
}
