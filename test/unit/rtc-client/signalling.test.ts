import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gunzipSync } from 'node:zlib';
import {
  DisconnectReason,
  JoinRequest,
  JoinResponse,
  LeaveRequest,
  LeaveRequest_Action,
  Pong,
  ReconnectReason,
  SessionDescription,
  SignalRequest,
  SignalResponse,
  WrappedJoinRequest,
} from '@livekit/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WebSocketServer, type WebSocket } from 'ws';
import { createLogger } from '../../../services/base/logger.ts';
import { openSignal, type OpenSignalOptions } from '../../../services/rtc-client/signal-open.ts';

const logger = createLogger({ level: 'silent' });

/** A signal server that does what a test tells it. */
class FakeServer {
  readonly requests: IncomingMessage[] = [];
  readonly received: SignalRequest[] = [];
  onConnection: (socket: WebSocket) => void = () => undefined;
  refuse: { status: number; body: string } | undefined;
  readonly #http: Server = createServer();
  readonly #sockets = new WebSocketServer({ noServer: true });

  async listen(): Promise<string> {
    this.#http.on('upgrade', (request, socket, head) => {
      this.requests.push(request);
      if (this.refuse !== undefined) {
        const { status, body } = this.refuse;
        socket.end(
          `HTTP/1.1 ${status} No\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
        );
        return;
      }
      this.#sockets.handleUpgrade(request, socket, head, (upgraded) => {
        upgraded.on('message', (data: Buffer) => this.received.push(SignalRequest.fromBinary(data)));
        this.onConnection(upgraded);
      });
    });
    await new Promise<void>((resolve) => this.#http.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}/prefix/`;
  }

  async close(): Promise<void> {
    this.#sockets.clients.forEach((client) => client.terminate());
    this.#http.closeAllConnections();
    await new Promise((resolve) => this.#http.close(resolve));
  }
}

type Message = SignalResponse['message'];
const bytes = (message: Message): Uint8Array => new SignalResponse({ message }).toBinary();
const JOIN: Message = { case: 'join', value: new JoinResponse({ pingInterval: 1, pingTimeout: 2 }) };

let server: FakeServer;
let base: OpenSignalOptions;

beforeEach(async () => {
  server = new FakeServer();
  base = {
    url: await server.listen(),
    token: 'the-token',
    autoSubscribe: true,
    mediaBatchMs: 0,
    intent: { type: 'join', offer: new SessionDescription({ type: 'offer', sdp: 'v=0', id: 1 }) },
    signal: new AbortController().signal,
    timeoutMs: 1000,
    logger,
  };
});
afterEach(() => server.close());

function joinRequest(request: IncomingMessage | undefined): JoinRequest {
  const url = new URL(request?.url ?? '', 'http://x');
  expect(url.pathname).toBe('/prefix/rtc/v1');
  // LiveKit's server decodes with padding (Go's base64.URLEncoding).
  expect(url.searchParams.get('join_request')).toMatch(/^(?:[\w-]{4})*(?:[\w-]{2}==|[\w-]{3}=)?$/);
  const wrapped = WrappedJoinRequest.fromBinary(
    Buffer.from(url.searchParams.get('join_request') ?? '', 'base64url'),
  );
  return JoinRequest.fromBinary(gunzipSync(wrapped.joinRequest));
}

describe('openSignal', () => {
  it('joins with the offer inside, the token in a header and not in the URL', async () => {
    server.onConnection = (socket) => socket.send(bytes(JOIN));
    const { connection, first } = await openSignal(base);
    expect(first.type).toBe('join');
    const [request] = server.requests;
    expect(request?.headers.authorization).toBe('Bearer the-token');
    expect(request?.url).not.toContain('the-token');
    const join = joinRequest(request);
    expect(join.publisherOffer?.id).toBe(1);
    expect(join.connectionSettings?.autoSubscribe).toBe(true);
    expect(join.reconnect).toBe(false);
    await connection.close();
  });

  it('resumes by participant id, also when the server goes straight on with other messages', async () => {
    server.onConnection = (socket) => socket.send(bytes({ case: 'refreshToken', value: 'new' }));
    const intent = {
      type: 'resume' as const,
      participantSid: 'PA_1',
      reason: ReconnectReason.RR_SIGNAL_DISCONNECTED,
    };
    const { connection, first } = await openSignal({ ...base, intent });
    expect(first).toEqual({ type: 'reconnect', response: undefined });
    expect(joinRequest(server.requests[0])).toMatchObject({ reconnect: true, participantSid: 'PA_1' });
    const messages: Message[] = [];
    connection.start(
      (message) => messages.push(message),
      () => undefined,
    );
    expect(messages).toEqual([{ case: 'refreshToken', value: 'new' }]);
    await connection.close();
  });

  it('loses no message that comes between the first one and start()', async () => {
    server.onConnection = (socket) => {
      socket.send(bytes(JOIN));
      socket.send(bytes({ case: 'refreshToken', value: 'a' }));
      socket.send(Buffer.from('this is not protobuf \xff'));
      socket.send(new SignalResponse({ message: { case: 'refreshToken', value: 'b' } }).toJsonString());
    };
    const { connection } = await openSignal(base);
    const tokens: unknown[] = [];
    await new Promise<void>((resolve) => {
      connection.start(
        (message) => {
          tokens.push(message.value);
          if (tokens.length === 2) {
            resolve();
          }
        },
        () => undefined,
      );
    });
    expect(tokens).toEqual(['a', 'b']);
    await connection.close();
  });

  it.each([
    [401, 'invalid token', 'unauthenticated'],
    [403, 'no permission', 'permission_denied'],
    [404, 'requested room does not exist', 'not_found'],
    [404, 'not found', 'unavailable'],
    [429, 'too many', 'resource_exhausted'],
    [503, '', 'unavailable'],
  ])('turns HTTP %i "%s" into %s', async (status, body, code) => {
    server.refuse = { status, body };
    await expect(openSignal(base)).rejects.toMatchObject({ code });
  });

  it('says what the server wants when it begins with leave', async () => {
    const leave = new LeaveRequest({
      action: LeaveRequest_Action.RECONNECT,
      reason: DisconnectReason.STATE_MISMATCH,
    });
    server.onConnection = (socket) => socket.send(bytes({ case: 'leave', value: leave }));
    await expect(openSignal(base)).rejects.toMatchObject({
      action: LeaveRequest_Action.RECONNECT,
      message: expect.stringContaining('STATE_MISMATCH') as string,
    });
  });

  it('gives up on a server that says nothing, that hangs up, and when told to', async () => {
    await expect(openSignal({ ...base, timeoutMs: 50 })).rejects.toMatchObject({ code: 'deadline_exceeded' });
    server.onConnection = (socket) => socket.close(1011);
    await expect(openSignal(base)).rejects.toMatchObject({ code: 'unavailable' });
    const abort = new AbortController();
    server.onConnection = () => abort.abort();
    await expect(openSignal({ ...base, signal: abort.signal })).rejects.toMatchObject({ code: 'canceled' });
  });

  it.each(['nonsense', 'ftp://host'])('refuses the URL %s', async (url) => {
    await expect(openSignal({ ...base, url })).rejects.toMatchObject({ code: 'invalid_argument' });
  });
});

describe('an open signalling connection', () => {
  it('pings as both old and new servers expect, and ends when nothing comes back', async () => {
    let answers = 2;
    server.onConnection = (socket) => {
      socket.send(bytes(JOIN));
      socket.on('message', (data: Buffer) => {
        const { message } = SignalRequest.fromBinary(data);
        if (message.case === 'pingReq' && answers > 0) {
          answers -= 1;
          const pong = new Pong({ lastPingTimestamp: message.value.timestamp, timestamp: 1n });
          socket.send(bytes({ case: 'pongResp', value: pong }));
        }
      });
    };
    const { connection } = await openSignal(base);
    const reason = await new Promise((resolve) => connection.start(() => undefined, resolve));
    expect(reason).toContain('ping');
    const kinds = new Set(server.received.map(({ message }) => message.case));
    expect(kinds).toEqual(new Set(['ping', 'pingReq']));
    expect(answers).toBe(0);
    await connection.close();
  });

  it('reports the end once, and not at all when we close', async () => {
    let socket: WebSocket | undefined;
    server.onConnection = (opened) => {
      socket = opened;
      opened.send(bytes(JOIN));
    };
    const ended: string[] = [];
    const { connection } = await openSignal(base);
    await new Promise<void>((resolve) => {
      connection.start(
        () => undefined,
        (reason) => {
          ended.push(reason);
          resolve();
        },
      );
      socket?.terminate();
    });
    await connection.close();
    expect(ended).toHaveLength(1);
    const second = await openSignal(base);
    second.connection.start(
      () => undefined,
      (reason) => ended.push(reason),
    );
    await second.connection.close();
    expect(ended).toHaveLength(1);
  });
});
