import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { messageOf, ServiceError } from '../errors.ts';

export type DialOptions = {
  host: string;
  /** Where to connect when the host was resolved before; it is then looked up no more. */
  address?: string;
  port: number;
  secure: boolean;
  /** Trusted instead of the public authorities (PEM); for tests. */
  ca?: string;
  timeoutMs: number;
  signal: AbortSignal;
};

/**
 * A TCP or TLS connection to somebody else's server; certificates are verified.
 * @throws ServiceError unavailable, blaming the destination: not resolved, refused, timed out, certificate.
 */
export async function dial(options: DialOptions): Promise<Socket> {
  const { host, port, secure, ca, timeoutMs, signal } = options;
  const target = options.address ?? host;
  const socket = secure
    ? connectTls({
        host: target,
        port,
        ...(isIP(host) === 0 ? { servername: host } : {}),
        ...(ca === undefined ? {} : { ca }),
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
          reject(error instanceof ServiceError ? error : unreachable(options, reasonOf(error), error));
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

function reasonOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const known = REASONS[code];
  if (known !== undefined) {
    return known;
  }
  return /CERT|SELF_SIGNED|ALTNAME|SSL|TLS|EPROTO|UNABLE_TO/.test(code)
    ? `TLS failed: ${tlsReason(messageOf(error))}`
    : messageOf(error) || code;
}

/** OpenSSL puts its error in the middle of a line of internals. */
function tlsReason(message: string): string {
  return /:SSL routines:[^:]*:([^:]+):/.exec(message)?.[1] ?? message;
}

function unreachable({ host, port }: DialOptions, reason: string, cause?: unknown): ServiceError {
  return new ServiceError('unavailable', `${host}:${port} cannot be reached: ${reason}`, {
    blame: 'destination',
    cause,
  });
}
