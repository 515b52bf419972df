import { gunzipSync, gzipSync } from 'node:zlib';
import {
  ClientInfo,
  ConnectionSettings,
  JoinRequest,
  LeaveRequest_Action,
  SignalRequest,
  SignalResponse,
  WrappedJoinRequest,
  WrappedJoinRequest_Compression,
} from '@livekit/protocol';
import { messageOf, ServiceError } from '../base/errors.ts';

/** What clients are told they talk to: the LiveKit release whose behaviour is kept, and its protocol number. */
export const SIGNAL_COMPATIBILITY = { version: '1.13.5', protocol: 17 } as const;

export const SIGNAL_LIMITS = {
  /** One frame: an offer of SDP_LIMITS.maxBytes and its envelope. */
  maxFrameBytes: 1024 * 1024 + 64 * 1024,
  /** join_request after base64 and after gunzip. */
  maxJoinRequestBytes: 256 * 1024,
} as const;

/**
 * Our own query parameter of the signalling URL: a recorder asks for its media in bursts this many milliseconds apart.
 * Other servers ignore it.
 */
export const MEDIA_BATCH = { param: 'sluice_batch_ms', maxMs: 500 } as const;

export type SignalMessage = SignalResponse['message'];
export type SignalRequestMessage = SignalRequest['message'];

/**
 * Clients that send text frames speak JSON and are answered in JSON.
 * @throws ServiceError invalid_argument for anything that is not a SignalRequest.
 */
export function decodeSignalRequest(data: Uint8Array, encoding: 'protobuf' | 'json'): SignalRequest {
  try {
    return encoding === 'protobuf'
      ? SignalRequest.fromBinary(data)
      : SignalRequest.fromJsonString(Buffer.from(data).toString('utf8'), { ignoreUnknownFields: true });
  } catch (error) {
    throw new ServiceError('invalid_argument', `not a SignalRequest: ${messageOf(error)}`, { cause: error });
  }
}

export function encodeSignalResponse(
  message: SignalMessage,
  encoding: 'protobuf' | 'json',
): Uint8Array | string {
  const response = new SignalResponse({ message });
  return encoding === 'protobuf' ? response.toBinary() : response.toJsonString();
}

/** @throws ServiceError unavailable: the server sent something that is not a SignalResponse. */
export function decodeSignalResponse(data: Uint8Array): SignalResponse {
  try {
    return SignalResponse.fromBinary(data);
  } catch (error) {
    throw new ServiceError('unavailable', `not a SignalResponse: ${messageOf(error)}`, { cause: error });
  }
}

export function encodeSignalRequest(message: SignalRequestMessage): Uint8Array {
  return new SignalRequest({ message }).toBinary();
}

/** The `join_request` query value of /rtc/v1: base64url of a WrappedJoinRequest, compressed to fit a URL. */
export function encodeJoinRequest(request: JoinRequest): string {
  const wrapped = new WrappedJoinRequest({
    compression: WrappedJoinRequest_Compression.GZIP,
    joinRequest: gzipSync(request.toBinary()),
  });
  return Buffer.from(wrapped.toBinary()).toString('base64url');
}

/**
 * Reads the `join_request` query value of /rtc/v1.
 * @throws ServiceError invalid_argument when it is not base64, not protobuf or too large.
 */
export function decodeJoinRequest(value: string): JoinRequest {
  if (value.length > SIGNAL_LIMITS.maxJoinRequestBytes) {
    throw new ServiceError('invalid_argument', 'could not decode join_request: too large');
  }
  if (!/^[\w+/-]*={0,2}$/.test(value)) {
    throw new ServiceError('invalid_argument', 'could not decode join_request: not base64');
  }
  try {
    const wrapped = WrappedJoinRequest.fromBinary(Buffer.from(value, 'base64url'));
    const bytes =
      wrapped.compression === WrappedJoinRequest_Compression.GZIP
        ? gunzipSync(wrapped.joinRequest, { maxOutputLength: SIGNAL_LIMITS.maxJoinRequestBytes })
        : wrapped.joinRequest;
    return JoinRequest.fromBinary(bytes);
  } catch (error) {
    throw new ServiceError('invalid_argument', `could not decode join_request: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** The query parameters of /rtc (two peer connections) as the JoinRequest that /rtc/v1 would carry. */
export function joinRequestFromQuery(query: URLSearchParams): JoinRequest {
  const flag = (name: string, fallback: boolean): boolean => {
    const value = query.get(name);
    return value === null || value === '' ? fallback : value === '1' || value === 'true';
  };
  return new JoinRequest({
    clientInfo: new ClientInfo({
      version: query.get('version') ?? '',
      protocol: Number.parseInt(query.get('protocol') ?? '0', 10) || 0,
      os: query.get('os') ?? '',
      osVersion: query.get('os_version') ?? '',
      browser: query.get('browser') ?? '',
      browserVersion: query.get('browser_version') ?? '',
      deviceModel: query.get('device_model') ?? '',
    }),
    connectionSettings: new ConnectionSettings({
      autoSubscribe: flag('auto_subscribe', true),
      adaptiveStream: flag('adaptive_stream', false),
    }),
    reconnect: flag('reconnect', false),
    participantSid: query.get('sid') ?? '',
  });
}

/** What a client does after `leave`; clients older than protocol 13 read canReconnect instead. */
export const LEAVE_ACTION = {
  disconnect: { action: LeaveRequest_Action.DISCONNECT, canReconnect: false },
  resume: { action: LeaveRequest_Action.RESUME, canReconnect: true },
  reconnect: { action: LeaveRequest_Action.RECONNECT, canReconnect: true },
} as const;
export type LeaveAction = keyof typeof LEAVE_ACTION;
