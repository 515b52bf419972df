import type { Message, MessageType } from '@bufbuild/protobuf';
import { messageOf, ServiceError, type ErrorCode } from '../base/errors.ts';
import { redactText } from '../base/redact.ts';

/**
 * Twirp v7 over HTTP as LiveKit speaks it: `POST /twirp/<package>.<Service>/<Method>`, body JSON or protobuf,
 * errors always JSON (https://twitchtv.github.io/twirp/docs/spec_v7.html).
 */
export const TWIRP_PREFIX = '/twirp/';

export type TwirpMethod<Req extends Message<Req>, Res extends Message<Res>> = {
  /** With package: "livekit.RoomService". */
  service: string;
  method: string;
  request: MessageType<Req>;
  response: MessageType<Res>;
};

export type TwirpEncoding = 'json' | 'protobuf';

export const TWIRP_CONTENT_TYPE: Readonly<Record<TwirpEncoding, string>> = {
  json: 'application/json',
  protobuf: 'application/protobuf',
};

export type TwirpErrorBody = { code: ErrorCode; msg: string; meta?: Record<string, string> };

/** @throws ServiceError bad_route for any other content type. */
export function encodingOf(contentType: string | undefined): TwirpEncoding {
  const mediaType = (contentType ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
  for (const encoding of ['json', 'protobuf'] as const) {
    if (TWIRP_CONTENT_TYPE[encoding] === mediaType) {
      return encoding;
    }
  }
  throw new ServiceError('bad_route', `unexpected Content-Type: "${mediaType.slice(0, 100)}"`);
}

/** Unknown fields are dropped, JSON keys may be snake_case or camelCase. @throws ServiceError malformed. */
export function decodeTwirp<T extends Message<T>>(
  type: MessageType<T>,
  encoding: TwirpEncoding,
  body: Uint8Array,
): T {
  try {
    if (encoding === 'protobuf') {
      return type.fromBinary(body);
    }
    const text = new TextDecoder('utf-8', { fatal: true }).decode(body);
    return type.fromJsonString(text === '' ? '{}' : text, { ignoreUnknownFields: true });
  } catch (error) {
    throw new ServiceError(
      'malformed',
      `the ${encoding} request could not be decoded: ${decodeReason(error)}`,
      {
        cause: error,
      },
    );
  }
}

/** JSON answers are snake_case with every default written out, 64-bit numbers as strings, enums by name. */
export function encodeTwirp<T extends Message<T>>(encoding: TwirpEncoding, message: T): Uint8Array | string {
  return encoding === 'protobuf'
    ? message.toBinary()
    : message.toJsonString({ emitDefaultValues: true, useProtoFieldName: true });
}

/** The error body; secrets that slipped into a message are cut out here at the latest. */
export function twirpError(error: unknown): { status: number; body: TwirpErrorBody } {
  const known = ServiceError.from(error);
  const message = error instanceof ServiceError ? error.message : 'internal error';
  return {
    status: known.httpStatus,
    body: {
      code: known.code,
      msg: redactText(message),
      ...(known.code === 'bad_route' ? {} : metaOf(known)),
    },
  };
}

function metaOf(error: ServiceError): { meta?: Record<string, string> } {
  return error.blame === 'destination' ? { meta: { blame: error.blame } } : {};
}

/** protobuf-es quotes the offending value; a body can hold a secret, so the quote is cut short. */
function decodeReason(error: unknown): string {
  return redactText(messageOf(error)).slice(0, 200);
}
