import { messageOf, ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { IngressSettings } from '../../model/ingress.ts';
import type { MediaSink } from '../servers/publisher-types.ts';
import { openInput } from './open-input.ts';
import { playLive, playRecording } from './play-input.ts';
import { playRtmp } from './rtmp-player.ts';
import type { PlayOptions } from './url-options.ts';
import { isLive, type UrlPolicy, type UrlTarget } from './url-policy.ts';

export type UrlReaderOptions = {
  target: UrlTarget;
  play: PlayOptions;
  policy: UrlPolicy;
  settings: Pick<IngressSettings, 'video' | 'audio'>;
  ffmpegPath: string;
  ffprobePath: string;
  sink: MediaSink;
  logger: Logger;
  /** An input that sends nothing for so long has failed. */
  stallMs: number;
};

const MAX_REDIRECTS = 5;

/** Plays one URL into a session. */
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
    const { sink } = this.#options;
    try {
      await this.#follow(this.#options.target);
      sink.end('the input has ended');
    } catch (error) {
      if (this.#stop.signal.aborted) {
        sink.end('stopped');
      } else {
        sink.end(messageOf(error), ServiceError.from(error, 'unavailable'));
      }
    }
  }

  /** Every redirect that is not HTTP's own is checked like the first address. */
  async #follow(first: UrlTarget): Promise<void> {
    let target = first;
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
      const redirect = await this.#play(target);
      if (redirect === undefined) {
        return;
      }
      target = await this.#options.policy.target(redirect);
      if (target.kind !== first.kind) {
        throw failed(`${first.kind} server redirects to ${target.kind}`);
      }
    }
    throw failed(`more than ${MAX_REDIRECTS} redirects`);
  }

  /** @returns where the server sends us instead. */
  async #play(target: UrlTarget): Promise<string | undefined> {
    const { policy, logger, ...rest } = this.#options;
    const options = { ...rest, logger, signal: this.#stop.signal };
    if (target.kind === 'rtmp') {
      await playRtmp({
        ...options,
        address: target.address,
        ipAddress: target.ipAddress,
        trust: policy.trust,
      });
      return undefined;
    }
    const input = await openInput(target, policy, logger);
    try {
      await (isLive(target) ? playLive(input, options) : playRecording(input, options));
      return undefined;
    } catch (error) {
      if (input.redirect !== undefined) {
        return input.redirect;
      }
      throw input.refusal ?? error;
    } finally {
      await input.close();
    }
  }
}

function failed(text: string): ServiceError {
  return new ServiceError('unavailable', text, { blame: 'destination' });
}
