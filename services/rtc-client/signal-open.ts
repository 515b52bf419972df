import { gzipSync } from 'node:zlib';
import {
  ClientInfo,
  ClientInfo_SDK,
  ConnectionSettings,
  DisconnectReason,
  JoinRequest,
  type LeaveRequest_Action,
  WrappedJoinRequest,
  WrappedJoinRequest_Compression,
  type JoinResponse,
  type ReconnectReason,
  type ReconnectResponse,
  type SessionDescription,
} from '@livekit/protocol';
import { WebSocket } from 'ws';
import { ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { MEDIA_BATCH } from '../protocol/signal.ts';
import { SignalConnection, type SignalResponseMessage } from './signal-connection.ts';

export type OpenSignalOptions = {
  url: string;
  token: string;
  autoSubscribe: boolean;
  /** 0 = media as it comes. */
  mediaBatchMs: number;
  /** Join: the first offer travels with the request. Resume: the session to take up again. */
  intent:
    | { type: 'join'; offer: SessionDescription }
    | { type: 'resume'; participantSid: string; reason: ReconnectReason };
  signal: AbortSignal;
  timeoutMs: number;
  logger: Logger;
};

export type OpenedSignal = {
  connection: SignalConnection;
  /** reconnect: undefined response when the server resumed without saying so; its message is delivered by start(). */
  first:
    { type: 'join'; response: JoinResponse } | { type: 'reconnect'; response: ReconnectResponse | undefined };
};

/** LiveKit's protocol version: 16 and later carry everything used here. */
const PROTOCOL_VERSION = 16;
const CLIENT_VERSION = '2.22.0';
const MAX_MESSAGE_BYTES = 16 << 20;
const MAX_ERROR_BODY_BYTES = 4096;

/** The server wants this session to end or to be set up differently; thrown while connecting. */
export class LeaveError extends ServiceError {
  readonly action: LeaveRequest_Action;

  constructor(action: LeaveRequest_Action, reason: DisconnectReason, cause?: unknown) {
    super('aborted', `the session cannot go on: ${DisconnectReason[reason]}`, { cause });
    this.action = action;
  }
}

function rtcUrl(options: OpenSignalOptions): URL {
  let url: URL;
  try {
    url = new URL(options.url);
  } catch (error) {
    throw new ServiceError('invalid_argument', 'the server URL is not a URL: use ws://host:port', {
      cause: error,
    });
  }
  url.protocol = url.protocol.replace(/^http/, 'ws');
  if (url.protocol !== 'ws:' && url.protocol !== 'wss:') {
    throw new ServiceError('invalid_argument', `the server URL has scheme ${url.protocol}: use ws or wss`);
  }
  url.pathname = `${url.pathname.replace(/\/$/, '')}/rtc/v1`;
  const { intent } = options;
  const request = new JoinRequest({
    clientInfo: new ClientInfo({
      sdk: ClientInfo_SDK.NODE,
      version: CLIENT_VERSION,
      protocol: PROTOCOL_VERSION,
      os: process.platform,
    }),
    connectionSettings: new ConnectionSettings({
      autoSubscribe: options.autoSubscribe,
      adaptiveStream: false,
    }),
    ...(intent.type === 'join'
      ? { publisherOffer: intent.offer }
      : { reconnect: true, participantSid: intent.participantSid, reconnectReason: intent.reason }),
  });
  const wrapped = new WrappedJoinRequest({
    compression: WrappedJoinRequest_Compression.GZIP,
    joinRequest: new Uint8Array(gzipSync(request.toBinary())),
  });
  // URL-safe alphabet with padding: LiveKit's Go decoder insists on it.
  const encoded = Buffer.from(wrapped.toBinary()).toString('base64');
  url.searchParams.set('join_request', encoded.replaceAll('+', '-').replaceAll('/', '_'));
  if (options.mediaBatchMs > 0) {
    url.searchParams.set(MEDIA_BATCH.param, String(options.mediaBatchMs));
  }
  return url;
}

function refusal(status: number, body: string): ServiceError {
  const detail = body.trim() === '' ? `HTTP ${status}` : body.trim();
  switch (status) {
    case 401:
      return new ServiceError('unauthenticated', `the server refused the token: ${detail}`);
    case 403:
      return new ServiceError('permission_denied', `the server refused to let us join: ${detail}`);
    case 404:
      return body.includes('requested room does not exist')
        ? new ServiceError('not_found', detail)
        : new ServiceError(
            'unavailable',
            'the server has no /rtc/v1 signalling endpoint: it needs LiveKit 1.9 or later',
            { retryable: false },
          );
    case 429:
      return new ServiceError('resource_exhausted', `the server refused to let us join: ${detail}`, {
        retryable: true,
      });
    default:
      return new ServiceError('unavailable', `the signalling connection was refused: ${detail}`);
  }
}

/**
 * Opens the signalling WebSocket and waits for the first message.
 * @throws ServiceError unauthenticated | permission_denied | not_found | unavailable | deadline_exceeded | canceled;
 * LeaveError when the server answers with leave.
 */
export async function openSignal(options: OpenSignalOptions): Promise<OpenedSignal> {
  const url = rtcUrl(options);
  options.signal.throwIfAborted();
  const socket = new WebSocket(url, {
    headers: { authorization: `Bearer ${options.token}` },
    perMessageDeflate: false,
    maxPayload: MAX_MESSAGE_BYTES,
    handshakeTimeout: options.timeoutMs,
  });
  const connection = new SignalConnection(socket, options.logger);
  try {
    const message = await firstMessage(connection, socket, options);
    switch (message.case) {
      case 'join':
        connection.startPing(message.value.pingInterval, message.value.pingTimeout);
        return { connection, first: { type: 'join', response: message.value } };
      case 'reconnect':
        connection.startPing(0, 0);
        return { connection, first: { type: 'reconnect', response: message.value } };
      case 'leave':
        throw new LeaveError(message.value.action, message.value.reason);
      default:
        if (options.intent.type === 'join') {
          throw new ServiceError(
            'unavailable',
            `the server began with ${String(message.case)}, not with join`,
          );
        }
        // Any message means that the session was taken up again.
        connection.requeue(message);
        connection.startPing(0, 0);
        return { connection, first: { type: 'reconnect', response: undefined } };
    }
  } catch (error) {
    await connection.close();
    throw error;
  }
}

function firstMessage(
  connection: SignalConnection,
  socket: WebSocket,
  options: OpenSignalOptions,
): Promise<SignalResponseMessage> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(
        new ServiceError('deadline_exceeded', `no answer from the server within ${options.timeoutMs} ms`),
      );
    }, options.timeoutMs);
    const onAbort = (): void => reject(new ServiceError('canceled', 'connecting was cancelled'));
    options.signal.addEventListener('abort', onAbort, { once: true });
    const settle = (): void => {
      clearTimeout(timer);
      options.signal.removeEventListener('abort', onAbort);
    };
    socket.on('unexpected-response', (_request, response) => {
      const status = response.statusCode ?? 0;
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        body = (body + chunk).slice(0, MAX_ERROR_BODY_BYTES);
      });
      response.on('close', () => {
        settle();
        reject(refusal(status, body));
      });
    });
    connection.awaitFirst(
      (message) => {
        settle();
        resolve(message);
      },
      (cause) => {
        settle();
        reject(new ServiceError('unavailable', `the signalling connection failed: ${cause}`));
      },
    );
  });
}
