import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ServiceError } from '../errors.ts';
import { redactText } from '../redact.ts';

/**
 * Answers with an RFC 9457 problem document. A body nobody has read is discarded and the connection closed, so that
 * the client sees the answer rather than a reset.
 */
export function sendProblem(
  request: IncomingMessage,
  response: ServerResponse,
  failure: ServiceError,
  headers: Readonly<Record<string, string>> = {},
): void {
  if (response.headersSent || response.destroyed) {
    return;
  }
  const { httpStatus: status, code: title, message } = failure;
  response.writeHead(status, {
    ...headers,
    'content-type': 'application/problem+json',
    ...(status === 401 ? { 'www-authenticate': 'Bearer' } : {}),
    ...(request.complete ? {} : { connection: 'close' }),
  });
  response.end(JSON.stringify({ status, title, detail: redactText(message) }));
  request.resume();
}
