import { HTTP_STATUS_BY_CODE, ServiceError, type ErrorCode } from '../base/errors.ts';

/** psrpc's names where they differ from ours (Twirp's). */
const TO_PSRPC: Partial<Record<ErrorCode, string>> = {
  malformed: 'malformed_request',
  dataloss: 'data_loss',
  bad_route: 'unimplemented',
};

/** psrpc's names that ours lack; the target is what psrpc itself turns them into for Twirp. */
const FROM_PSRPC: Readonly<Record<string, ErrorCode>> = {
  malformed_request: 'malformed',
  malformed_result: 'malformed',
  data_loss: 'dataloss',
  not_acceptable: 'invalid_argument',
  unprocessable_entity: 'invalid_argument',
  upstream_server_error: 'internal',
  upstream_client_error: 'invalid_argument',
};

export function toPsrpcCode(code: ErrorCode): string {
  return TO_PSRPC[code] ?? code;
}

/** Names nobody knows become "unknown". */
export function fromPsrpcCode(code: string): ErrorCode {
  if (Object.hasOwn(FROM_PSRPC, code)) {
    return FROM_PSRPC[code] ?? 'unknown';
  }
  return Object.hasOwn(HTTP_STATUS_BY_CODE, code) ? (code as ErrorCode) : 'unknown';
}

export function errorFromResponse(response: { error: string; code: string }): ServiceError {
  return new ServiceError(fromPsrpcCode(response.code), response.error);
}
