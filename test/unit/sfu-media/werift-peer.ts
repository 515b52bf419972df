import {
  MediaStreamTrack,
  RTCCertificate,
  RTCDtlsTransport,
  RTCPeerConnection,
  RTCRtpCodecParameters,
  useAbsSendTime,
  useSdesMid,
  useTransportWideCC,
  type RTCDataChannel,
  type RTCRtpTransceiver,
} from 'werift';
import type { PeerTransport, UdpMux } from '../../../services/sfu/media-types.ts';

/** werift's own RTCPeerConnection as a client nobody here wrote: it offers, the transport under test answers. */
export const VP8_PAYLOAD_TYPE = 96;
export const GCM = 7;
export const CM = 1;

export type WeriftPeer = {
  pc: RTCPeerConnection;
  transport: PeerTransport;
  transceiver: RTCRtpTransceiver;
  channel: RTCDataChannel;
  /** mid of the video section in the offer. */
  mid: string;
  ssrc: number;
  extensionId(uri: string): number;
  close(): Promise<void>;
};

export async function offerFromWerift(
  mux: UdpMux,
  options: {
    label: string;
    direction: 'sendonly' | 'recvonly';
    profile: number;
    /** Which side of DTLS the SFU takes. */
    setup?: 'passive' | 'active';
    /** SSRC the SFU announces in a sendonly answer. */
    announce?: (transport: PeerTransport) => number;
    fingerprint?: (real: string) => string;
    /** Uses this key with the peer's real certificate, as somebody would who only copied the certificate. */
    stolenCertificateKey?: string;
  },
): Promise<WeriftPeer> {
  const pc = new RTCPeerConnection({
    codecs: {
      audio: [],
      video: [
        new RTCRtpCodecParameters({
          mimeType: 'video/VP8',
          clockRate: 90000,
          payloadType: VP8_PAYLOAD_TYPE,
          rtcpFeedback: [{ type: 'nack' }, { type: 'nack', parameter: 'pli' }],
        }),
      ],
    },
    headerExtensions: { audio: [], video: [useSdesMid(), useAbsSendTime(), useTransportWideCC()] },
    iceServers: [],
    iceUseIpv6: false,
    iceAdditionalHostAddresses: ['127.0.0.1'],
    iceInterfaceAddresses: { udp4: '127.0.0.1' },
    bundlePolicy: 'max-bundle',
  });
  const transceiver =
    options.direction === 'sendonly'
      ? pc.addTransceiver(new MediaStreamTrack({ kind: 'video' }), { direction: 'sendonly' })
      : pc.addTransceiver('video', { direction: 'recvonly' });
  const channel = pc.createDataChannel('_reliable');
  const transport = mux.createTransport({ label: options.label });
  const setup = options.setup ?? 'passive';
  await pc.setLocalDescription(await pc.createOffer());
  // Only now does werift give the transport its certificate.
  for (const dtls of pc.dtlsTransports) {
    Object.assign(dtls, { srtpProfiles: [options.profile] });
    const real = dtls.localCertificate ?? (await RTCDtlsTransport.SetupCertificate());
    if (options.stolenCertificateKey !== undefined) {
      dtls.localCertificate = new RTCCertificate(
        options.stolenCertificateKey,
        real.certPem,
        real.signatureHash,
      );
    }
  }
  const offer = pc.localDescription?.sdp ?? '';
  const fingerprint = attribute(offer, /^a=fingerprint:sha-256 (\S+)/m);
  await transport.setRemote({
    ufrag: attribute(offer, /^a=ice-ufrag:(\S+)/m),
    fingerprint: options.fingerprint?.(fingerprint) ?? fingerprint,
    role: setup,
  });
  const answer = answerFor(offer, transport, options.direction, setup, options.announce?.(transport));
  await pc.setRemoteDescription({ type: 'answer', sdp: answer });
  return {
    pc,
    transport,
    transceiver,
    channel,
    mid: attribute(offer, /^m=video[\s\S]*?^a=mid:(\S+)/m),
    ssrc: Number(/^a=ssrc:(\d+)/m.exec(offer)?.[1] ?? 0),
    extensionId: (uri) =>
      Number(new RegExp(`^a=extmap:(\\d+)(?:/\\w+)? \\S*${uri}`, 'm').exec(offer)?.[1] ?? 0),
    close: async () => {
      await transport.close('test over');
      await pc.close();
    },
  };
}

function attribute(sdp: string, pattern: RegExp): string {
  const value = pattern.exec(sdp)?.[1];
  if (value === undefined) {
    throw new Error(`the offer has no ${String(pattern)}`);
  }
  return value;
}

function answerFor(
  offer: string,
  transport: PeerTransport,
  offered: 'sendonly' | 'recvonly',
  setup: 'passive' | 'active',
  ssrc: number | undefined,
): string {
  const sections = offer.split(/\r?\n(?=m=)/).slice(1);
  const lines = ['v=0', 'o=- 1 1 IN IP4 0.0.0.0', 's=-', 't=0 0', 'a=ice-lite'];
  lines.push(`a=group:BUNDLE ${sections.map((section) => attribute(section, /^a=mid:(\S+)/m)).join(' ')}`);
  for (const section of sections) {
    const media = attribute(section, /^m=(\w+)/);
    lines.push(
      media === 'application'
        ? 'm=application 9 UDP/DTLS/SCTP webrtc-datachannel'
        : `m=video 9 UDP/TLS/RTP/SAVPF ${VP8_PAYLOAD_TYPE}`,
      'c=IN IP4 0.0.0.0',
      `a=mid:${attribute(section, /^a=mid:(\S+)/m)}`,
      `a=ice-ufrag:${transport.localUfrag}`,
      `a=ice-pwd:${transport.localPwd}`,
      `a=fingerprint:sha-256 ${transport.localFingerprint}`,
      `a=setup:${setup}`,
      ...transport.candidates.map((candidate) => `a=${candidate}`),
      'a=end-of-candidates',
    );
    if (media === 'application') {
      lines.push('a=sctp-port:5000', 'a=max-message-size:262144');
      continue;
    }
    lines.push(
      `a=${offered === 'sendonly' ? 'recvonly' : 'sendonly'}`,
      'a=rtcp-mux',
      ...[...section.matchAll(/^a=extmap:.*$/gm)].map(([line]) => line.trim()),
      `a=rtpmap:${VP8_PAYLOAD_TYPE} VP8/90000`,
      `a=rtcp-fb:${VP8_PAYLOAD_TYPE} nack`,
      `a=rtcp-fb:${VP8_PAYLOAD_TYPE} nack pli`,
    );
    if (ssrc !== undefined) {
      lines.push('a=msid:PA TR', `a=ssrc:${ssrc} cname:sluice`, `a=ssrc:${ssrc} msid:PA TR`);
    }
  }
  return `${lines.join('\r\n')}\r\n`;
}
