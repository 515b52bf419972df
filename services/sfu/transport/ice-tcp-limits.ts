/** What a TCP client can make us spend before and after it has shown a session's password in a STUN check. */
export type IceTcpLimits = {
  maxConnections: number;
  maxConnectionsPerAddress: number;
  /** Connections that have not authenticated yet; the next ones are refused. */
  maxUnauthenticated: number;
  authenticationTimeoutMs: number;
  maxUnauthenticatedPackets: number;
  /** Nothing sent and nothing received. */
  idleTimeoutMs: number;
  /** After authentication; before, a packet is a STUN check. SRTP and DTLS stay below an Ethernet frame. */
  maxPacketBytes: number;
  /** Waiting to be sent; more is dropped. About a second at 4 Mbit/s. */
  maxBacklogBytes: number;
  /** Open at once for one peer; the oldest unused one is closed first. */
  maxConnectionsPerPeer: number;
};

export const ICE_TCP_LIMITS: IceTcpLimits = {
  maxConnections: 10_000,
  maxConnectionsPerAddress: 500,
  maxUnauthenticated: 1_000,
  authenticationTimeoutMs: 10_000,
  maxUnauthenticatedPackets: 20,
  idleTimeoutMs: 30_000,
  maxPacketBytes: 4_096,
  maxBacklogBytes: 512 * 1024,
  maxConnectionsPerPeer: 4,
};
