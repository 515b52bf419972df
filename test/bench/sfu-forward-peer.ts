import {
  RTCPeerConnection,
  RTCRtpCodecParameters,
  useAbsSendTime,
  useSdesMid,
  useTransportWideCC,
} from 'werift';

export const PAYLOAD_TYPE = 96;
const AEAD_AES_128_GCM = 7;

/** The same peer connection for load and baseline: one VP8 codec, three header extensions, loopback only, GCM. */
export function createPeer(): RTCPeerConnection {
  return new RTCPeerConnection({
    codecs: {
      audio: [],
      video: [
        new RTCRtpCodecParameters({
          mimeType: 'video/VP8',
          clockRate: 90_000,
          payloadType: PAYLOAD_TYPE,
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
}

/** Call between creating transceivers and the local description. */
export function preferGcm(peer: RTCPeerConnection): void {
  for (const transport of peer.dtlsTransports) {
    Object.assign(transport, { srtpProfiles: [AEAD_AES_128_GCM] });
  }
}

export function untilConnected(peer: RTCPeerConnection): Promise<void> {
  return new Promise((resolve) => {
    const check = (): void => {
      if (peer.connectionState === 'connected') {
        resolve();
      }
    };
    peer.connectionStateChange.subscribe(check);
    check();
  });
}
