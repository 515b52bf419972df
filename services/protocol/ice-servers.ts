import { createHmac } from 'node:crypto';

/** As clients are told it: in the join message, and as Link headers of a WHIP answer. '' = no credentials. */
export type IceServer = { urls: readonly string[]; username: string; credential: string };

export type IceServersConfig = {
  /** host:port */
  stunServers: readonly string[];
  turnServers: readonly TurnServer[];
};

export type TurnServer = {
  host: string;
  port: number;
  /** tls: turns: over TCP. */
  protocol: 'udp' | 'tcp' | 'tls';
  username: string;
  credential: string;
  /** Shared with the TURN server (coturn: static-auth-secret); then every client gets credentials of its own. */
  secret: string;
  ttlS: number;
};

/** @param identity who may be named in a TURN server's log. */
export function iceServersFor(config: IceServersConfig, identity: string, nowMs = Date.now()): IceServer[] {
  const stun = config.stunServers.map((address) => ({
    urls: [`stun:${address}`],
    username: '',
    credential: '',
  }));
  const turn = config.turnServers.map((server) => ({
    urls: [turnUrl(server)],
    ...credentialsFor(server, identity, nowMs),
  }));
  return [...stun, ...turn];
}

/** RFC 7065. */
function turnUrl({ host, port, protocol }: TurnServer): string {
  return protocol === 'tls'
    ? `turns:${host}:${port}?transport=tcp`
    : `turn:${host}:${port}?transport=${protocol}`;
}

/** The "TURN REST API" scheme (draft-uberti-behave-turn-rest): the name says until when, the password proves who said so. */
function credentialsFor(
  { username, credential, secret, ttlS }: TurnServer,
  identity: string,
  nowMs: number,
): { username: string; credential: string } {
  if (secret === '') {
    return { username, credential };
  }
  const name = `${Math.floor(nowMs / 1000) + ttlS}:${identity.replaceAll(/[^\w.@-]/g, '_')}`;
  return { username: name, credential: createHmac('sha1', secret).update(name).digest('base64') };
}

/**
 * One Link header per server (RFC 9725 section 4.6), its address as it is: OBS finds it only at the beginning of a
 * header, and splits at commas and semicolons.
 */
export function linkHeaders(servers: readonly IceServer[]): string[] {
  return servers.flatMap(({ urls, username, credential }) => {
    const login =
      username === ''
        ? ''
        : `; username=${quoted(username)}; credential=${quoted(credential)}; credential-type="password"`;
    return urls.map((url) => `<${url}>; rel="ice-server"${login}`);
  });
}

function quoted(text: string): string {
  return `"${text.replaceAll(/["\\]/g, String.raw`\$&`)}"`;
}
