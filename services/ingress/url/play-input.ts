import { setTimeout as delay } from 'node:timers/promises';
import { monotonicUs } from '../../base/clock.ts';
import { ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { MatroskaPacket } from '../../media/ffmpeg/matroska-reader.ts';
import { probeUrl, type ProbedInput } from '../../media/ffmpeg/probe-url.ts';
import type { IngressSettings } from '../../model/ingress.ts';
import type { MediaSink, SourceDescription } from '../servers/publisher-types.ts';
import { LiveClock } from './live-clock.ts';
import { LiveSound } from './live-sound.ts';
import { livePackets, packetsOf } from './matroska-packets.ts';
import { DecodingTimes } from './decoding-times.ts';
import { withArrival } from './live-start.ts';
import { PacketDelivery } from './media-packet.ts';
import type { OpenInput } from './open-input.ts';
import { PlayoutClock } from './playout-clock.ts';
import { readAhead } from './read-ahead.ts';
import { copyArgs, readArgs, readPlan, type ReadPlan } from './read-plan.ts';
import { SpliceSchedule } from './splice-schedule.ts';
import type { PlayOptions } from './url-options.ts';

export type PlayInputOptions = {
  play: PlayOptions;
  settings: Pick<IngressSettings, 'video' | 'audio'>;
  ffmpegPath: string;
  ffprobePath: string;
  sink: MediaSink;
  logger: Logger;
  signal: AbortSignal;
  /** An input that sends nothing for so long has failed. */
  stallMs: number;
  /** How the error of a live input begins; default: the URL cannot be played. */
  whatFails?: string;
};

const PROBE_TIMEOUT_MS = 20_000;
/** How long the last packet of a round is shown when nothing tells. */
const LAST_PACKET_US = 20_000;
const SRT_GOODBYE_US = 3_000_000;
const SRT_FLUSH_US = 1_000_000;

/** Plays a recording at its own pace, as often as it was asked to. @throws ServiceError why it cannot go on. */
export async function playRecording(input: OpenInput, options: PlayInputOptions): Promise<void> {
  const { ffprobePath, settings, sink, logger, play, signal } = options;
  const probed = await probeUrl({
    ...{ ffprobePath, args: input.args(), env: input.env, signal },
    timeoutMs: PROBE_TIMEOUT_MS,
  });
  checkPlayable(probed, play);
  const plan = readPlan(probed, settings);
  logger.info(
    { format: probed.format, video: plan.video?.reason, audio: plan.audio?.reason },
    'URL input opened',
  );
  sink.source?.(descriptionOf(plan));
  const clock = new PlayoutClock();
  const delivery = new PacketDelivery(sink);
  const splices = new SpliceSchedule((eventId) => sink.outOfNetwork?.(eventId));
  const source = { input, plan, startS: probed.startS, splices };
  for await (const packet of readAhead(rounds(source, options))) {
    const dueUs = await clock.due(packet.ptsUs, signal);
    splices.reached(packet.ptsUs);
    delivery.deliver(packet, { decodingMs: dueUs / 1000 });
  }
  if (play.holdS > 0) {
    logger.info({ holdS: play.holdS }, 'URL input has ended, its last picture is held');
    await delay(play.holdS * 1000, undefined, { signal });
  }
}

/** Plays a live input as it comes. @throws ServiceError why it cannot go on. */
export async function playLive(
  input: Pick<OpenInput, 'args' | 'env' | 'isSrt'>,
  options: Omit<PlayInputOptions, 'play' | 'ffprobePath'>,
): Promise<void> {
  const { settings, sink } = options;
  const clock = new LiveClock();
  const delivery = new PacketDelivery(sink);
  const decodingTimes = new DecodingTimes();
  const sound = new LiveSound();
  let arrivalUs = 0;
  /** The first packet behind a long silence: at the end of its input ffmpeg gives out what it still held. */
  let resumedUs = Number.NEGATIVE_INFINITY;
  try {
    const args = copyArgs(input.args(), settings, input.isSrt);
    const packets = livePackets(args, settings, { ...options, env: input.env });
    for await (const { packet, ...arrived } of withArrival(packets)) {
      resumedUs =
        arrivalUs > 0 && arrived.arrivalUs - arrivalUs > SRT_GOODBYE_US ? arrived.arrivalUs : resumedUs;
      arrivalUs = arrived.arrivalUs;
      const dtsUs = decodingTimes.next(packet);
      const out = clock.at(packet.track.number, { dtsUs, ptsUs: packet.ptsUs }, arrivalUs);
      if (packet.track.kind === 'audio' && !sound.takes(packet.ptsUs, out.ptsUs)) {
        continue;
      }
      delivery.deliver(packet, {
        decodingMs: out.dtsUs / 1000,
        compositionMs: (out.ptsUs - out.dtsUs) / 1000,
        arrivalUs,
      });
    }
  } catch (error) {
    // A peer that says goodbye does so behind its last packet; one that vanished is noticed after five seconds.
    const nowUs = monotonicUs();
    const wasSilent = nowUs - arrivalUs > SRT_GOODBYE_US || nowUs - resumedUs < SRT_FLUSH_US;
    if (!input.isSrt || arrivalUs === 0 || wasSilent) {
      throw error;
    }
  }
  options.signal.throwIfAborted();
}

type Source = { input: OpenInput; plan: ReadPlan; startS: number; splices: SpliceSchedule };

/** The packets of all rounds, on one clock. */
async function* rounds(
  { input, plan, startS, splices }: Source,
  { settings, play, ...run }: PlayInputOptions,
): AsyncGenerator<MatroskaPacket, void> {
  const seek = play.startS > 0 ? ['-ss', String(play.startS)] : [];
  let startUs = 0;
  let readUs = 0;
  const onData = (sections: Buffer): void => {
    splices.push(sections, (startS + play.startS) * 1e6 - startUs, readUs);
  };
  for (let round = 0; round < play.plays; round++) {
    const ends = new RoundEnd();
    const args = readArgs([...seek, ...input.args()], plan, settings);
    const listening = plan.splices === undefined ? {} : { onData };
    for await (const packet of packetsOf({ ...run, ...listening, args, env: input.env })) {
      ends.add(packet);
      readUs = packet.ptsUs + startUs;
      yield { ...packet, ptsUs: readUs };
    }
    if (ends.lengthUs === 0) {
      throw new ServiceError('unavailable', 'the URL has no media there', { blame: 'destination' });
    }
    startUs += ends.lengthUs;
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
