import { messageOf, ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { exitError, spawnFfmpeg, type FfmpegProcess } from '../../media/ffmpeg/run.ts';
import { probeUrl } from '../../media/ffmpeg/probe-url.ts';
import type { VideoTarget } from '../../model/ingress.ts';
import { FLV_TAG, FlvReader } from '../../protocol/flv.ts';
import type { MediaSink } from '../servers/publisher-types.ts';
import { GuardedProxy } from './guarded-proxy.ts';
import type { UrlPolicy } from './url-policy.ts';
import { inputArgs, readPlan, urlReaderArgs } from './url-reader-args.ts';

export type UrlReaderOptions = {
  url: string;
  policy: UrlPolicy;
  picture: VideoTarget;
  ffmpegPath: string;
  ffprobePath: string;
  sink: MediaSink;
  logger: Logger;
};

const PROBE_TIMEOUT_MS = 20_000;

/** Plays one URL into a session, once, at its own pace. */
export class UrlReader {
  readonly #options: UrlReaderOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: UrlReaderOptions) {
    this.#options = options;
  }

  /** Returns at once; the sink hears of media and of the end. */
  start(): void {
    this.#running ??= this.#run();
  }

  /** Resolves when nothing of it runs any more. Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { policy, url, sink, logger } = this.#options;
    let proxy: GuardedProxy | undefined;
    try {
      const target = await policy.target(url);
      proxy = await GuardedProxy.start(policy, logger);
      const { ffprobePath, ffmpegPath, picture } = this.#options;
      // ffmpeg knows one variable for both schemes, and may leave nothing out.
      const env = { http_proxy: proxy.url, no_proxy: '' };
      const probed = await probeUrl({
        ffprobePath,
        args: inputArgs(target),
        env,
        timeoutMs: PROBE_TIMEOUT_MS,
        signal: this.#stop.signal,
      });
      const plan = readPlan(probed);
      logger.info({ format: probed.format, ...plan }, 'URL input opened');
      const args = urlReaderArgs(target, plan, picture);
      const reader = spawnFfmpeg({ ffmpegPath, args, env, logger, signal: this.#stop.signal });
      await this.#read(reader);
      const error = exitError(await reader.exited, 'URL input');
      if (error !== undefined) {
        throw error;
      }
      sink.end('the input has ended');
    } catch (error) {
      const failure = proxy?.refusal ?? ServiceError.from(error, 'unavailable');
      if (this.#stop.signal.aborted) {
        sink.end('stopped');
      } else {
        sink.end(messageOf(failure), failure);
      }
    } finally {
      await proxy?.close();
    }
  }

  async #read(reader: FfmpegProcess): Promise<void> {
    const { sink } = this.#options;
    const flv = new FlvReader();
    for await (const chunk of reader.stdout) {
      for (const { typeId, timestampMs, body } of flv.push(chunk as Uint8Array)) {
        if (typeId === FLV_TAG.audio) {
          sink.audio(timestampMs, Buffer.from(body));
        } else if (typeId === FLV_TAG.video) {
          sink.video(timestampMs, Buffer.from(body));
        }
      }
    }
  }
}
