import { Any, ScalarType, type Message, type MessageType } from '@bufbuild/protobuf';
import { message, nested, nestedList, scalar, text, textMap } from './message-fields.ts';

/** The `internal.*` messages of psrpc, as proto/psrpc-internal.proto has them. */
export type Request = Message<Request> & {
  requestId: string;
  clientId: string;
  /** Nanoseconds since the epoch, like expiry. */
  sentAt: bigint;
  expiry: bigint;
  multi: boolean;
  /** How psrpc carried the payload before raw_request. */
  request?: Any;
  metadata: Record<string, string>;
  rawRequest: Uint8Array;
};
export const Request = message<Request>('internal.Request', () => [
  text(1, 'request_id'),
  text(2, 'client_id'),
  scalar(3, 'sent_at', ScalarType.INT64),
  scalar(4, 'expiry', ScalarType.INT64),
  scalar(5, 'multi', ScalarType.BOOL),
  nested(6, 'request', Any),
  textMap(7, 'metadata'),
  scalar(8, 'raw_request', ScalarType.BYTES),
]);

export type Response = Message<Response> & {
  requestId: string;
  serverId: string;
  sentAt: bigint;
  /** How psrpc carried the payload before raw_response. */
  response?: Any;
  error: string;
  code: string;
  rawResponse: Uint8Array;
  errorDetails: Any[];
};
export const Response = message<Response>('internal.Response', () => [
  text(1, 'request_id'),
  text(2, 'server_id'),
  scalar(3, 'sent_at', ScalarType.INT64),
  nested(4, 'response', Any),
  text(5, 'error'),
  text(6, 'code'),
  scalar(7, 'raw_response', ScalarType.BYTES),
  nestedList(8, 'error_details', Any),
]);

/** A server's bid. */
export type ClaimRequest = Message<ClaimRequest> & { requestId: string; serverId: string; affinity: number };
export const ClaimRequest = message<ClaimRequest>('internal.ClaimRequest', () => [
  text(1, 'request_id'),
  text(2, 'server_id'),
  scalar(3, 'affinity', ScalarType.FLOAT),
]);

/** The client's choice. */
export type ClaimResponse = Message<ClaimResponse> & { requestId: string; serverId: string };
export const ClaimResponse = message<ClaimResponse>('internal.ClaimResponse', () => [
  text(1, 'request_id'),
  text(2, 'server_id'),
]);

/** What travels: an Any with one more field that other transports use. */
export type Msg = Message<Msg> & { typeUrl: string; value: Uint8Array; channel: string };
export const Msg = message<Msg>('internal.Msg', () => [
  text(1, 'type_url'),
  scalar(2, 'value', ScalarType.BYTES),
  text(3, 'channel'),
]);

/** Larger frames are neither sent nor read: the bus carries descriptions, not media. */
export const MAX_FRAME_BYTES = 4 * 1024 * 1024;

const TYPE_URL_PREFIX = 'type.googleapis.com/';

export function encodeFrame<T extends Message<T>>(content: T): Uint8Array {
  return new Msg({
    typeUrl: TYPE_URL_PREFIX + content.getType().typeName,
    value: content.toBinary(),
  }).toBinary();
}

/**
 * Reads a frame that must hold a message of this type.
 * @throws Error that says what is wrong with the bytes; nothing in it comes from them but a type name.
 */
export function decodeFrame<T extends Message<T>>(type: MessageType<T>, bytes: Uint8Array): T {
  const { typeUrl, value } = Msg.fromBinary(bytes);
  const typeName = typeUrl.slice(typeUrl.lastIndexOf('/') + 1);
  if (typeName !== type.typeName) {
    throw new Error(`expected ${type.typeName}, got "${typeName.slice(0, 80)}"`);
  }
  return type.fromBinary(value);
}

/** The request's payload, in whichever of the two forms it came. */
export function requestPayload(request: Request): Uint8Array {
  return request.rawRequest.length === 0
    ? (request.request?.value ?? request.rawRequest)
    : request.rawRequest;
}

export function responsePayload(response: Response): Uint8Array {
  return response.rawResponse.length === 0
    ? (response.response?.value ?? response.rawResponse)
    : response.rawResponse;
}
