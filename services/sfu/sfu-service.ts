import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Bus } from '../bus/bus.ts';
import { newId } from '../base/ids.ts';
import { iceServersFor, type IceServer, type IceServersConfig } from '../protocol/ice-servers.ts';
import type { LocalMedia } from '../media/rtp/local-media.ts';
import type { Logger } from '../base/logger.ts';
import { ROOM_DEFAULTS } from '../model/room.ts';
import type { ApiKeys } from '../protocol/token.ts';
import type { UdpMux } from './media-types.ts';
import type { OnRoomEvent } from './room-news.ts';
import { RoomRegistry, type RoomDefaults } from './room-registry.ts';
import { serveRoomRpc } from './room-rpc.ts';
import { SignalServer, type SignalServerLimits } from './signal-server.ts';
import { tokenIssuer } from './token-refresh.ts';
import { WhipEndpoint } from './whip/whip-endpoint.ts';
import { createUdpMux } from './transport/udp-mux.ts';

export type SfuOptions = {
  bus: Bus;
  keys: ApiKeys;
  logger: Logger;
  /** Shared with room clients of this process, which then hand their RTP over without SRTP. */
  localMedia?: LocalMedia;
  rtc: {
    /** 0 = any free port. */
    udpPort: number;
    /** Media over TCP, 0 = any free port; undefined = off. */
    tcpPort?: number | undefined;
    bindAddress: string;
    /** IP addresses clients reach this node under; empty = every address of bindAddress. */
    advertiseAddresses: readonly string[];
  };
  /** What clients are told; default: none. */
  iceServers?: IceServersConfig;
  room?: Partial<RoomDefaults> & { enableRemoteUnmute?: boolean };
  limits?: SignalServerLimits;
  onRoomEvent?: OnRoomEvent;
  nodeId?: string;
};

export type Sfu = {
  readonly udpPort: number;
  /** 0 = no media over TCP. */
  readonly tcpPort: number;
  /** false: not a signal path. */
  handleUpgrade(req: IncomingMessage, socket: Duplex, head: Buffer): boolean;
  /** false: neither a signal nor a WHIP path. */
  handleRequest(req: IncomingMessage, res: ServerResponse): boolean;
  close(cause: string): Promise<void>;
};

/** Starts rooms, signalling and media on one UDP port, and one TCP port. @throws ServiceError unavailable when one is taken. */
export async function startSfu(options: SfuOptions): Promise<Sfu> {
  const { logger } = options;
  const mux: UdpMux = await createUdpMux({
    port: options.rtc.udpPort,
    bindAddress: options.rtc.bindAddress,
    advertiseAddresses: options.rtc.advertiseAddresses,
    ...(options.rtc.tcpPort === undefined ? {} : { tcp: { port: options.rtc.tcpPort } }),
    logger,
    ...(options.localMedia === undefined ? {} : { localMedia: options.localMedia }),
  });
  const iceServers = (identity: string): IceServer[] =>
    iceServersFor(options.iceServers ?? { stunServers: [], turnServers: [] }, identity);
  const rooms = new RoomRegistry({
    nodeId: options.nodeId ?? newId('ND_'),
    logger,
    defaults: { autoCreate: true, ...ROOM_DEFAULTS, ...options.room },
    createTransport: (transport) => mux.createTransport(transport),
    issueToken: tokenIssuer(options.keys),
    iceServers,
    ...(options.onRoomEvent === undefined ? {} : { onEvent: options.onRoomEvent }),
  });
  const signal = new SignalServer({
    rooms,
    keys: options.keys,
    logger,
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  });
  const stopRpc = await serveRoomRpc({
    bus: options.bus,
    rooms,
    enableRemoteUnmute: options.room?.enableRemoteUnmute ?? false,
  });
  const whip = new WhipEndpoint({ rooms, keys: options.keys, bus: options.bus, iceServers, logger });
  let closing: Promise<void> | undefined;
  const close = async (cause: string): Promise<void> => {
    await stopRpc();
    rooms.close();
    signal.close(cause);
    await whip.close();
    await mux.close();
  };
  return {
    udpPort: mux.port,
    tcpPort: mux.tcpPort,
    handleUpgrade: (req, socket, head) => signal.handleUpgrade(req, socket, head),
    handleRequest: (req, res) => signal.handleRequest(req, res) || whip.handleRequest(req, res),
    close: (cause) => (closing ??= close(cause)),
  };
}
