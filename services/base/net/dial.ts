import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { messageOf, ServiceError, type ServiceErrorOptions } from '../errors.ts';

/** Whose certificates are accepted. */
export type TlsTrust = {
  /** Certificates of authorities (PEM) instead of the public ones. */
  ca?: string | string[];
  /** False: any certificate will do. Default: true. */
  verify?: boolean;
};

export type DialOptions = TlsTrust & {
  host: string;
  /** Where to connect when the host was resolved before; it is then looked up no more. */
  address?: string;
  port: number;
  secure: boolean;
  timeoutMs: number;
  signal: AbortSignal;
};

/**
 * A TCP or TLS connection to somebody else's server.
 * @throws ServiceError unavailable, blaming the destination: not resolved, refused, timed out; not retryable: certificate.
 */
export async function dial(options: DialOptions): Promise<Socket> {
  const { host, port, secure, ca, verify, timeoutMs, signal } = options;
  const target = options.address ?? host;
  const socket = secure
    ? connectTls({
        host: target,
        port,
        ...(isIP(host) === 0 ? { servername: host } : {}),
        ...(ca === undefined ? {} : { ca }),
        ...(verify === undefined ? {} : { rejectUnauthorized: verify }),
      })
    : connectTcp({ host: target, port });
  socket.setNoDelay(true);
  socket.setKeepAlive(true, 10_000);
  try {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(unreachable(options, `no answer within ${timeoutMs / 1000} s`));
      }, timeoutMs);
      const settle = (error?: unknown): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        if (error === undefined) {
          resolve();
        } else {
          reject(error instanceof ServiceError ? error : failureOf(error, options));
        }
      };
      const onAbort = (): void => {
        settle(new ServiceError('canceled', 'the stream was ended'));
      };
      signal.addEventListener('abort', onAbort, { once: true });
      if (signal.aborted) {
        onAbort();
      }
      socket.once(secure ? 'secureConnect' : 'connect', () => settle());
      // Stays for good: an error on a socket nobody listens to would end the process.
      socket.on('error', (error) => settle(error));
      socket.once('close', () => settle(new Error('the connection was closed')));
    });
  } catch (error) {
    socket.destroy();
    throw error;
  }
  return socket;
}

const REASONS: Readonly<Record<string, string>> = {
  ENOTFOUND: 'the host name does not exist',
  EAI_AGAIN: 'the host name cannot be resolved now',
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset',
  ETIMEDOUT: 'no answer',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'no route to the network',
};

function failureOf(error: unknown, options: DialOptions): ServiceError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const isTls = /CERT|SELF_SIGNED|ALTNAME|SSL|TLS|EPROTO|UNABLE_TO/.test(code);
  const known = REASONS[code];
  return isTls && known === undefined
    ? unreachable(options, `TLS failed: ${tlsReason(messageOf(error))}`, { cause: error, retryable: false })
    : unreachable(options, known ?? (messageOf(error) || code), { cause: error });
}

/** OpenSSL puts its error in the middle of a line of internals. */
function tlsReason(message: string): string {
  return /:SSL routines:[^:]*:([^:]+):/.exec(message)?.[1] ?? message;
}

function unreachable(
  { host, port }: DialOptions,
  reason: string,
  options: ServiceErrorOptions = {},
): ServiceError {
  return new ServiceError('unavailable', `${host}:${port} cannot be reached: ${reason}`, {
    blame: 'destination',
    ...options,
  });
}
