import type { Logger } from '../../base/logger.ts';
import { AddressLimiter } from './address-limiter.ts';
import type { OnPublish } from './publisher-types.ts';
import { RTMP_LIMITS, type RtmpLimits } from './rtmp-limits.ts';
import { startRtmpServer } from './rtmp-server.ts';

export type RtmpListenersOptions = {
  /** Undefined port: no plain RTMP. */
  rtmp: { port: number | undefined; bindAddress: string; limits?: Partial<RtmpLimits> };
  /** Undefined: no RTMPS. PEM texts; the limits are those of `rtmp`, counted over both. */
  rtmps: { port: number; bindAddress: string; cert: string; key: string } | undefined;
  /** Counts together with other listeners; default: one of their own. */
  limiter?: AddressLimiter;
  logger: Logger;
  onPublish: OnPublish;
};

export type RtmpListeners = {
  /** 0 = RTMP is off. */
  readonly rtmpPort: number;
  /** 0 = RTMPS is off. */
  readonly rtmpsPort: number;
  /** Asks all encoders that understand it to connect again, elsewhere if something in front sends them there. */
  requestReconnect(description: string): void;
  /** Stops listening, drops every encoder; resolves when all sockets are gone. Idempotent. */
  close(cause: string): Promise<void>;
};

/** RTMP, and RTMPS beside it when there is a certificate, or either alone. @throws ServiceError as startRtmpServer. */
export async function startRtmpListeners(options: RtmpListenersOptions): Promise<RtmpListeners> {
  const { logger, onPublish, rtmps } = options;
  const limits: RtmpLimits = { ...RTMP_LIMITS, ...options.rtmp.limits };
  const shared = { logger, onPublish, limits, limiter: options.limiter ?? new AddressLimiter(limits) };
  const { port, ...address } = options.rtmp;
  const plain = port === undefined ? undefined : await startRtmpServer({ ...address, ...shared, port });
  const secure =
    rtmps &&
    (await startSecure(rtmps, shared).catch(async (error: unknown) => {
      await plain?.close('start failed');
      throw error;
    }));
  return {
    rtmpPort: plain?.port ?? 0,
    rtmpsPort: secure?.port ?? 0,
    requestReconnect(description) {
      plain?.requestReconnect(description);
      secure?.requestReconnect(description);
    },
    async close(cause) {
      await Promise.all([plain?.close(cause), secure?.close(cause)]);
    },
  };
}

function startSecure(
  { cert, key, ...address }: NonNullable<RtmpListenersOptions['rtmps']>,
  shared: Omit<Parameters<typeof startRtmpServer>[0], 'port' | 'bindAddress' | 'tls'>,
): ReturnType<typeof startRtmpServer> {
  return startRtmpServer({ ...address, ...shared, tls: { cert, key } });
}
