import type { Socket } from 'node:net';
import { createLogger } from '../../services/base/logger.ts';
import { ServiceError } from '../../services/base/errors.ts';
import type { PublishRequest } from '../../services/ingress/servers/publisher-types.ts';
import type { RtmpLimits } from '../../services/ingress/servers/rtmp-limits.ts';
import { startRtmpListeners, type RtmpListeners } from '../../services/ingress/servers/rtmp-listeners.ts';
import type { AmfObject } from '../../services/protocol/amf0.ts';
import { RtmpClient } from './rtmp-client.ts';

export type Published = {
  request: PublishRequest;
  media: { kind: 'audio' | 'video'; timestampMs: number; body: Buffer }[];
  metadata: AmfObject[];
  ended: { cause: string; failure: Error | undefined }[];
};

/** The real listeners with a recording sink behind them; the stream key "right" opens it. */
export class RtmpRig {
  readonly published: Published[] = [];
  readonly #clients: RtmpClient[] = [];
  #listeners: RtmpListeners | undefined;

  async start(
    options: { limits?: Partial<RtmpLimits>; tls?: { cert: string; key: string } } = {},
  ): Promise<RtmpListeners> {
    const bindAddress = '127.0.0.1';
    this.#listeners = await startRtmpListeners({
      rtmp: { port: 0, bindAddress, limits: { refusalDelayMs: 0, ...options.limits } },
      rtmps: options.tls === undefined ? undefined : { port: 0, bindAddress, ...options.tls },
      logger: createLogger({ level: 'silent' }),
      onPublish: (request) => {
        if (request.streamKey !== 'right') {
          return Promise.reject(new ServiceError('not_found', 'stream key is not valid'));
        }
        const record: Published = { request, media: [], metadata: [], ended: [] };
        this.published.push(record);
        return Promise.resolve({
          metadata: (values) => record.metadata.push(values),
          audio: (timestampMs, body) => record.media.push({ kind: 'audio', timestampMs, body }),
          video: (timestampMs, body) => record.media.push({ kind: 'video', timestampMs, body }),
          end: (cause, failure) => record.ended.push({ cause, failure }),
        });
      },
    });
    return this.#listeners;
  }

  /** @param socket instead of one to the plain port. */
  client(socket?: Socket): RtmpClient {
    const one = new RtmpClient(socket ?? this.#listeners?.rtmpPort ?? 0);
    this.#clients.push(one);
    return one;
  }

  async close(): Promise<void> {
    this.#clients.splice(0).forEach((one) => {
      one.close();
    });
    await this.#listeners?.close('test over');
    this.published.length = 0;
  }
}
