import {
  ClientConfigSetting,
  ClientConfiguration,
  Codec,
  ICEServer,
  JoinResponse,
  ReconnectResponse,
  ServerInfo,
  ServerInfo_Edition,
  type ParticipantInfo,
  type Room,
} from '@livekit/protocol';
import { ENABLED_CODECS } from '../model/room.ts';
import type { IceServer } from '../protocol/ice-servers.ts';
import { SIGNAL_COMPATIBILITY } from '../protocol/signal.ts';

/** How often clients ping, and how long they wait before they reconnect. */
const PING_INTERVAL_S = 5;
const PING_TIMEOUT_S = 15;

/** The first message of a new session. */
export function joinResponse(facts: {
  room: Room;
  participant: ParticipantInfo;
  others: ParticipantInfo[];
  nodeId: string;
  iceServers: readonly IceServer[];
  sifTrailer: Uint8Array;
}): JoinResponse {
  return new JoinResponse({
    room: facts.room,
    participant: facts.participant,
    otherParticipants: facts.others,
    serverInfo: serverInfo(facts.nodeId),
    serverVersion: SIGNAL_COMPATIBILITY.version,
    // One peer connection, offered by the client (/rtc/v1).
    subscriberPrimary: false,
    fastPublish: false,
    pingInterval: PING_INTERVAL_S,
    pingTimeout: PING_TIMEOUT_S,
    enabledPublishCodecs: ENABLED_CODECS.map((mime) => new Codec({ mime })),
    iceServers: facts.iceServers.map(iceServerToWire),
    sifTrailer: facts.sifTrailer,
    clientConfiguration: clientConfiguration(),
  });
}

/** The first message of a resumed session; the client repeats reliable data after `lastMessageSequence`. */
export function reconnectResponse(facts: {
  nodeId: string;
  iceServers: readonly IceServer[];
  lastMessageSequence: number;
}): ReconnectResponse {
  return new ReconnectResponse({
    serverInfo: serverInfo(facts.nodeId),
    clientConfiguration: clientConfiguration(),
    iceServers: facts.iceServers.map(iceServerToWire),
    lastMessageSeq: facts.lastMessageSequence,
  });
}

function iceServerToWire({ urls, username, credential }: IceServer): ICEServer {
  return new ICEServer({ urls: [...urls], username, credential });
}

function serverInfo(nodeId: string): ServerInfo {
  return new ServerInfo({
    edition: ServerInfo_Edition.Standard,
    version: SIGNAL_COMPATIBILITY.version,
    protocol: SIGNAL_COMPATIBILITY.protocol,
    nodeId,
  });
}

function clientConfiguration(): ClientConfiguration {
  return new ClientConfiguration({ resumeConnection: ClientConfigSetting.UNSET });
}
