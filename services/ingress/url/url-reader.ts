import { setTimeout as delay } from 'node:timers/promises';
import { messageOf, ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { MatroskaPacket } from '../../media/ffmpeg/matroska-reader.ts';
import { probeUrl, type ProbedInput } from '../../media/ffmpeg/probe-url.ts';
import type { IngressSettings } from '../../model/ingress.ts';
import type { MediaSink, SourceDescription } from '../servers/publisher-types.ts';
import { ffmpegPackets } from './ffmpeg-packets.ts';
import { PacketDelivery } from './media-packet.ts';
import { openInput, type OpenInput } from './open-input.ts';
import { PlayoutClock } from './playout-clock.ts';
import { readAhead } from './read-ahead.ts';
import { readArgs, readPlan, type ReadPlan } from './read-plan.ts';
import type { PlayOptions } from './url-options.ts';
import type { UrlPolicy, UrlTarget } from './url-policy.ts';

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
  stallMs?: number;
};

const PROBE_TIMEOUT_MS = 20_000;
const STALL_MS = 20_000;
/** How long the last packet of a round is shown when nothing tells. */
const LAST_PACKET_US = 20_000;

/** Plays one recorded input into a session at its own pace, as often as it was asked to. */
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
    const { target, policy, sink, logger } = this.#options;
    let input: OpenInput | undefined;
    try {
      input = await openInput(target, policy, logger);
      await this.#play(input);
      sink.end('the input has ended');
    } catch (error) {
      const failure = input?.refusal ?? ServiceError.from(error, 'unavailable');
      if (this.#stop.signal.aborted) {
        sink.end('stopped');
      } else {
        sink.end(messageOf(failure), failure);
      }
    } finally {
      await input?.close();
    }
  }

  async #play(input: OpenInput): Promise<void> {
    const { ffprobePath, settings, sink, logger, play } = this.#options;
    const { signal } = this.#stop;
    const { args, env } = input;
    const probed = await probeUrl({ ffprobePath, args, env, timeoutMs: PROBE_TIMEOUT_MS, signal });
    checkPlayable(probed, play);
    const plan = readPlan(probed, settings);
    logger.info(
      { format: probed.format, video: plan.video?.reason, audio: plan.audio?.reason },
      'URL input opened',
    );
    sink.source?.(descriptionOf(plan));
    const clock = new PlayoutClock();
    const delivery = new PacketDelivery(sink);
    for await (const packet of readAhead(this.#rounds(input, plan))) {
      const dueUs = await clock.due(packet.ptsUs, signal);
      delivery.deliver(packet, dueUs / 1000);
    }
    if (play.holdS > 0) {
      logger.info({ holdS: play.holdS }, 'URL input has ended, its last picture is held');
      await delay(play.holdS * 1000, undefined, { signal });
    }
  }

  /** The packets of all rounds, on one clock. */
  async *#rounds(input: OpenInput, plan: ReadPlan): AsyncGenerator<MatroskaPacket, void> {
    const { ffmpegPath, logger, settings, play, stallMs = STALL_MS } = this.#options;
    const seek = play.startS > 0 ? ['-ss', String(play.startS)] : [];
    const args = readArgs([...seek, ...input.args], plan, settings);
    let startUs = 0;
    for (let round = 0; round < play.plays; round++) {
      const { signal } = this.#stop;
      const ends = new RoundEnd();
      for await (const packet of ffmpegPackets({
        ffmpegPath,
        args,
        env: input.env,
        logger,
        signal,
        stallMs,
      })) {
        ends.add(packet);
        yield { ...packet, ptsUs: packet.ptsUs + startUs };
      }
      if (ends.lengthUs === 0) {
        throw new ServiceError('unavailable', 'the URL has no media there', { blame: 'destination' });
      }
      startUs += ends.lengthUs;
    }
  }
}

/** How long a round lasts: its last packet is as long as the one before. */
class RoundEnd {
  lengthUs = 0;
  readonly #lastUs = new Map<number, number>();

  add({ track, ptsUs }: MatroskaPacket): void {
    const stepUs = ptsUs - (this.#lastUs.get(track.number) ?? ptsUs - LAST_PACKET_US);
    this.#lastUs.set(track.number, ptsUs);
    this.lengthUs = Math.max(this.lengthUs, ptsUs + Math.max(stepUs, 0));
  }
}

/** @throws ServiceError failed_precondition naming the option that needs a recording. */
function checkPlayable({ durationS }: ProbedInput, { plays, startS }: PlayOptions): void {
  const option = plays > 1 ? 'sluice_loop' : startS > 0 ? 'sluice_start' : undefined;
  if (option !== undefined && durationS === 0) {
    throw new ServiceError(
      'failed_precondition',
      `${option} needs an input with an end; this one tells none`,
    );
  }
  if (startS > 0 && startS >= durationS) {
    throw new ServiceError(
      'out_of_range',
      `sluice_start=${startS} is behind the end of the input (${durationS.toFixed(1)} s)`,
    );
  }
}

function descriptionOf({ video, audio }: ReadPlan): SourceDescription {
  return {
    video: video && {
      codec: video.stream.codec === 'hevc' ? 'h265' : video.stream.codec,
      width: video.stream.width,
      height: video.stream.height,
      framerate: video.stream.framerate || undefined,
      transcoded: video.reason,
    },
    audio: audio && {
      codec: audio.stream.codec,
      channels: audio.stream.channels,
      outputSampleRateHz: audio.stream.sampleRateHz,
    },
  };
}
