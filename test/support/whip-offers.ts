/** SDP offers as text, for what no well-behaved encoder would send. */
const FINGERPRINT = Array.from({ length: 32 }, (_, i) => i.toString(16).padStart(2, '0').toUpperCase()).join(
  ':',
);

const TRANSPORT = [
  'c=IN IP4 0.0.0.0',
  'a=ice-ufrag:abcd1234',
  'a=ice-pwd:00112233445566778899aabbccddeeff',
  `a=fingerprint:sha-256 ${FINGERPRINT}`,
  'a=setup:actpass',
];

export type OfferedSection = {
  kind: string;
  mid: string;
  /** `96 VP8/90000`. */
  codec?: string;
  direction?: string;
  port?: number;
  /** More lines. */
  lines?: readonly string[];
  without?: RegExp;
};

export const AUDIO: OfferedSection = { kind: 'audio', mid: '0', codec: '111 opus/48000/2' };
export const VIDEO: OfferedSection = { kind: 'video', mid: '1', codec: '96 H264/90000' };

export function offerOf(sections: readonly OfferedSection[], options: { bundle?: boolean } = {}): string {
  const mids = sections.map(({ mid }) => mid).join(' ');
  const lines = [
    'v=0',
    'o=- 1 1 IN IP4 127.0.0.1',
    's=-',
    't=0 0',
    ...(options.bundle === false ? [] : [`a=group:BUNDLE ${mids}`]),
    ...sections.flatMap(sectionLines),
  ];
  return `${lines.join('\r\n')}\r\n`;
}

function sectionLines(section: OfferedSection): string[] {
  const { kind, mid, codec = '', direction = 'sendonly', port = 9, lines: more = [], without } = section;
  const [payloadType = '0'] = codec.split(' ');
  const lines =
    kind === 'application'
      ? [`m=application ${port} UDP/DTLS/SCTP webrtc-datachannel`, ...TRANSPORT, `a=mid:${mid}`]
      : [
          `m=${kind} ${port} UDP/TLS/RTP/SAVPF ${payloadType}`,
          ...TRANSPORT,
          `a=mid:${mid}`,
          `a=${direction}`,
          'a=rtcp-mux',
          `a=rtpmap:${codec}`,
          ...more,
        ];
  return lines.filter((line) => without?.test(line) !== true);
}
