/** SDP for the SFU, the room client and WHIP: one import for its three parts. */
export { parseSdp } from './sdp-parse.ts';
export { rejectSection, writeSdp, type SdpSectionSpec, type SdpSpec } from './sdp-write.ts';
export {
  EXTENSION_URI,
  SDP_LIMITS,
  type SdpCodec,
  type SdpDirection,
  type SdpMediaKind,
  type SdpMediaSection,
  type SdpSetup,
  type SdpSource,
  type SessionDescription,
} from './sdp-types.ts';
