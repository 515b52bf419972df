import type { IncomingMessage } from 'node:http';
import { ServiceError } from '../errors.ts';

/**
 * Reads a request body whole, and never more of it than allowed.
 * @throws ServiceError 413 when it is larger, 408 when it takes too long, aborted when the client goes away.
 */
export function readBody(
  request: IncomingMessage,
  limits: { maxBytes: number; timeoutMs: number },
): Promise<Buffer> {
  const { maxBytes, timeoutMs } = limits;
  const tooLarge = new ServiceError('resource_exhausted', `the body is larger than ${maxBytes} bytes`, {
    blame: 'caller',
    httpStatus: 413,
  });
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) {
    return Promise.reject(tooLarge);
  }
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const finish = (error: ServiceError | undefined): void => {
      clearTimeout(timer);
      request.off('data', onData).off('end', onEnd).off('close', onClose);
      if (error === undefined) {
        resolve(Buffer.concat(chunks));
      } else {
        request.pause();
        reject(error);
      }
    };
    const onData = (chunk: Buffer): void => {
      bytes += chunk.length;
      chunks.push(chunk);
      if (bytes > maxBytes) {
        finish(tooLarge);
      }
    };
    const onEnd = (): void => {
      finish(undefined);
    };
    const onClose = (): void => {
      finish(new ServiceError('aborted', 'the client closed the connection', { blame: 'caller' }));
    };
    const timer = setTimeout(() => {
      finish(new ServiceError('deadline_exceeded', `the body took longer than ${timeoutMs} ms`));
    }, timeoutMs);
    request.on('data', onData).on('end', onEnd).on('close', onClose);
    request.on('error', onClose);
  });
}
