/** What the page reads from the server; shapes as in services/api/overview.ts and `GET /status`. */
export type Status = {
  version: string;
  dev_keys: boolean;
  ports: { http: number; rtmp: number; whip: number; rtc_udp: number };
  services: string[];
  tools?: { ffmpeg: string; chromium: string; limits: string[] };
};

export type Track = {
  sid: string;
  type: string;
  source: string;
  mime_type: string;
  width: number;
  height: number;
  muted: boolean;
};
export type Participant = {
  sid: string;
  identity: string;
  name: string;
  kind: string;
  hidden: boolean;
  tracks: Track[];
};
export type Room = { sid: string; name: string; participants: Participant[] };
export type Egress = {
  egress_id: string;
  room_name: string;
  status: string;
  started_at: string;
  error: string;
  details: string;
};
export type Ingress = {
  ingress_id: string;
  name: string;
  url: string;
  stream_key: string;
  room_name: string;
  participant_identity: string;
  state?: { status: string; error: string } | null;
};
export type Recording = { path: string; bytes: number; modifiedAtMs: number; url: string };
export type Overview = { rooms: Room[]; egress: Egress[]; ingress: Ingress[]; recordings: Recording[] };

/** The token is missing, expired or lacks a grant: the page has to ask. */
export class SignInNeeded extends Error {}

const TOKEN_ITEM = 'sluice-token';
let token = sessionStorage.getItem(TOKEN_ITEM) ?? '';

export function useToken(value: string): void {
  token = value;
  sessionStorage.setItem(TOKEN_ITEM, value);
}

/** On the server's own machine, with the development keys, the server hands out a token. */
async function renewToken(): Promise<void> {
  const answer = await fetch('/home/session', { method: 'POST' });
  if (!answer.ok) {
    throw new SignInNeeded();
  }
  const body = (await answer.json()) as { token: string };
  useToken(body.token);
}

async function request(path: string, init: RequestInit, mayRenew = true): Promise<unknown> {
  const headers = {
    ...(init.headers as Record<string, string> | undefined),
    authorization: `Bearer ${token}`,
  };
  const answer = await fetch(path, { ...init, headers });
  if (answer.status === 401) {
    if (!mayRenew) {
      throw new SignInNeeded();
    }
    await renewToken();
    return request(path, init, false);
  }
  const body = (await answer.json()) as { msg?: string };
  if (!answer.ok) {
    throw new Error(body.msg ?? `the server answered ${String(answer.status)}`);
  }
  return body;
}

export async function loadStatus(): Promise<Status> {
  return (await (await fetch('/status')).json()) as Status;
}

export async function loadOverview(): Promise<Overview> {
  return (await request('/home/overview', {})) as Overview;
}

/** One LiveKit API call, e.g. `call('Ingress', 'CreateIngress', {...})`. */
export async function call(service: string, method: string, body: object): Promise<unknown> {
  return request(`/twirp/livekit.${service}/${method}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
}
