import { amfObject, type AmfObject, type AmfValue } from '../../protocol/amf0.ts';

/** `capsEx` of Enhanced RTMP v2, "Enhancing NetConnection connect command". */
export const CAPS_EX = { reconnect: 1, multitrack: 2, modEx: 4, timestampNanoOffset: 8 } as const;
const CAN_DECODE = 1;
const CAN_FORWARD = 4;

/** What the pipelines do with each codec; one table for the answer to `connect` and for the documentation. */
const VIDEO_CODECS: Readonly<Record<string, number>> = {
  avc1: CAN_DECODE | CAN_FORWARD,
  hvc1: CAN_DECODE,
  vp08: CAN_DECODE | CAN_FORWARD,
  vp09: CAN_DECODE | CAN_FORWARD,
  av01: CAN_DECODE,
};
const AUDIO_CODECS: Readonly<Record<string, number>> = { Opus: CAN_FORWARD, mp4a: CAN_DECODE };

const ENHANCED_PROPERTIES = ['fourCcList', 'videoFourCcInfoMap', 'audioFourCcInfoMap', 'capsEx'];

/** What an encoder says of itself in `connect`. */
export type ConnectRequest = {
  /** Untrusted text; '' when it is missing. */
  app: string;
  /** Anything of Enhanced RTMP was announced. OBS announces nothing and sends it all the same. */
  enhanced: boolean;
  /** Understands NetConnection.Connect.ReconnectRequest. */
  reconnect: boolean;
};

/** @param properties first argument of `connect`; anything but an object says nothing. */
export function readConnect(properties: AmfValue): ConnectRequest {
  const get = (key: string): AmfValue =>
    properties instanceof Map ? (properties.get(key) as AmfValue) : undefined;
  const app = get('app');
  const capsEx = get('capsEx');
  return {
    app: typeof app === 'string' ? app : '',
    enhanced: ENHANCED_PROPERTIES.some((key) => get(key) !== undefined),
    reconnect: typeof capsEx === 'number' && (capsEx & CAPS_EX.reconnect) !== 0,
  };
}

/** Properties of the answer to an encoder that announced something; none for the others, who never asked. */
export function serverCapabilities({ enhanced }: ConnectRequest): Record<string, AmfValue> {
  return enhanced
    ? {
        capsEx: CAPS_EX.reconnect | CAPS_EX.modEx,
        fourCcList: [...Object.keys(VIDEO_CODECS), ...Object.keys(AUDIO_CODECS)],
        videoFourCcInfoMap: infoMap(VIDEO_CODECS),
        audioFourCcInfoMap: infoMap(AUDIO_CODECS),
      }
    : {};
}

function infoMap(codecs: Readonly<Record<string, number>>): AmfObject {
  return amfObject(codecs);
}
