import type { Logger } from '../../base/logger.ts';
import { AddressLimiter } from './address-limiter.ts';
import type { OnPublish } from './publisher-types.ts';
import { RTMP_LIMITS, type RtmpLimits } from './rtmp-limits.ts';
import { startRtmpServer } from './rtmp-server.ts';

export type RtmpListenersOptions = {
  rtmp: { port: number; bindAddress: string; limits?: Partial<RtmpLimits> };
  /** Undefined: no RTMPS. PEM texts; the limits are those of `rtmp`, counted over both. */
  rtmps: { port: number; bindAddress: string; cert: string; key: string } | undefined;
  /** Counts together with other listeners; default: one of their own. */
  limiter?: AddressLimiter;
  logger: Logger;
  onPublish: OnPublish;
};

export type RtmpListeners = {
  readonly rtmpPort: number;
  /** 0 = RTMPS is off. */
  readonly rtmpsPort: number;
  /** Asks all encoders that understand it to connect again, elsewhere if something in front sends them there. */
  requestReconnect(description: string): void;
  /** Stops listening, drops every encoder; resolves when all sockets are gone. Idempotent. */
  close(cause: string): Promise<void>;
};

/** RTMP, and RTMPS beside it when there is a certificate. @throws ServiceError as startRtmpServer. */
export async function startRtmpListeners(options: RtmpListenersOptions): Promise<RtmpListeners> {
  const { logger, onPublish, rtmps } = options;
  const limits: RtmpLimits = { ...RTMP_LIMITS, ...options.rtmp.limits };
  const shared = { logger, onPublish, limits, limiter: options.limiter ?? new AddressLimiter(limits) };
  const plain = await startRtmpServer({ ...options.rtmp, ...shared });
  if (rtmps === undefined) {
    return { ...plain, rtmpPort: plain.port, rtmpsPort: 0 };
  }
  const { cert, key, ...address } = rtmps;
  const secure = await startRtmpServer({ ...address, ...shared, tls: { cert, key } }).catch(
    async (error: unknown) => {
      await plain.close('start failed');
      throw error;
    },
  );
  return {
    rtmpPort: plain.port,
    rtmpsPort: secure.port,
    requestReconnect(description) {
      plain.requestReconnect(description);
      secure.requestReconnect(description);
    },
    async close(cause) {
      await Promise.all([plain.close(cause), secure.close(cause)]);
    },
  };
}
