import { ServiceError } from '../../base/errors.ts';
import { SafeEmitter } from '../../base/events.ts';
import type { Logger } from '../../base/logger.ts';
import type { EncodedPacket } from '../../model/packet.ts';
import type { CaptureSocket } from './capture-socket.ts';
import type { CapturedChunk, CapturedPcm, CapturedVideo } from './packet-framing.ts';
import { PcmTimeline, type TimedPcm } from './pcm-timeline.ts';
import type { RecorderEvent, RecorderStats } from './recorder-protocol.ts';
import { ClockOffset, MediaClock, systemMonotonicUs } from './session-clock.ts';

const CLOCK_SAMPLES = 12;
const CLOCK_TIMEOUT_MS = 5_000;
const FIRST_FRAME_TIMEOUT_MS = 10_000;
const STOP_TIMEOUT_MS = 5_000;
const FILL_INTERVAL_MS = 200;
/** Sound kept while the first picture is under way. */
const MAX_EARLY_PCM = 300;
export type CapturePath = 'stage' | 'room_template' | 'web_page';
/**
 * How late Chrome stamps sound against the picture, measured by flash and beep (docs/decisions/0003-capture.md). Web
 * pages are between what <video> (18 ms late to 9 ms early) and WebAudio (30 to 50 ms early) need.
 */
export const AUDIO_LATE_US: Record<CapturePath, number> = {
  stage: 10_000,
  room_template: 10_000,
  web_page: -14_000,
};

/** Assumed until sound tells otherwise: Chrome captures at the rate of the machine's output device. */
const DEFAULT_SAMPLE_RATE_HZ = 48_000;
const AUDIO_PROBE_TIMEOUT_MS = 500;

export type CaptureSessionEvents = {
  /** H.264 access units on the session clock. */
  video: EncodedPacket;
  /** Gapless stereo PCM at the rate record() told, on the same clock, from 0 on. */
  pcm: TimedPcm;
  failed: ServiceError;
};

/** Turns what the recorder sends into one session clock that starts at 0 with the first picture. */
export class CaptureSession {
  readonly events: SafeEmitter<CaptureSessionEvents>;
  readonly #socket: CaptureSocket;
  readonly #audioLateUs: number;
  readonly #logger: Logger;
  readonly #workerClock = new ClockOffset();
  readonly #videoClock = new MediaClock();
  readonly #audioClock = new MediaClock();
  readonly #earlyPcm: CapturedPcm[] = [];
  readonly #clockAsked = new Map<number, number>();
  #startUs: number | undefined;
  #sampleRateHz: number | undefined;
  #pcmTimeline = new PcmTimeline(DEFAULT_SAMPLE_RATE_HZ);
  #rateMismatches = 0;
  #lastVideoPtsUs = -1;
  #fillTimer: NodeJS.Timeout | undefined;
  #onClockKnown: (() => void) | undefined;
  #onAudioKnown: (() => void) | undefined;
  #onFirstFrame: (() => void) | undefined;
  #onStopped: (() => void) | undefined;
  #isConnected = true;
  #ended = false;
  #stats: RecorderStats | undefined;

  constructor(socket: CaptureSocket, path: CapturePath, logger: Logger) {
    this.#socket = socket;
    this.#audioLateUs = AUDIO_LATE_US[path];
    this.#logger = logger;
    this.events = new SafeEmitter(logger);
    socket.events.on('chunk', (chunk) => {
      this.#onChunk(chunk);
    });
    socket.events.on('event', (event) => {
      this.#onEvent(event);
    });
    socket.events.on('disconnected', () => {
      this.#isConnected = false;
      this.#onStopped?.();
      if (!this.#ended) {
        this.events.emit('failed', new ServiceError('internal', 'the recorder page lost its connection'));
      }
    });
  }

  get stats(): RecorderStats | undefined {
    return this.#stats;
  }

  /**
   * Learns the recorder's clock; call once it is connected.
   * @throws ServiceError internal when the recorder does not answer.
   */
  async synchronise(): Promise<void> {
    const known = within(CLOCK_TIMEOUT_MS, 'the recorder page does not answer', (resolve) => {
      this.#onClockKnown = resolve;
    });
    this.#askClock(0);
    await known;
  }

  /**
   * The rate of the page's sound, which Chrome takes from the machine's output device; 48 kHz when no sound comes.
   * Call before record().
   */
  async audioSampleRateHz(): Promise<number> {
    if (this.#sampleRateHz === undefined) {
      await within(AUDIO_PROBE_TIMEOUT_MS, 'the page yields no sound', (resolve) => {
        this.#onAudioKnown = resolve;
      }).catch(() => {
        this.#logger.warn('page capture has no sound, the recording gets silence');
      });
    }
    this.#sampleRateHz ??= DEFAULT_SAMPLE_RATE_HZ;
    this.#pcmTimeline = new PcmTimeline(this.#sampleRateHz);
    return this.#sampleRateHz;
  }

  /**
   * Starts the recording; resolves with its first picture.
   * @throws ServiceError internal when no picture comes.
   */
  async record(): Promise<void> {
    const first = within(FIRST_FRAME_TIMEOUT_MS, 'the page yields no picture', (resolve) => {
      this.#onFirstFrame = resolve;
    });
    this.#socket.send({ type: 'record' });
    await first;
    this.#fillTimer = setInterval(() => {
      this.#writePcm(this.#pcmTimeline.fill(this.#nowUs()));
    }, FILL_INTERVAL_MS);
  }

  requestKeyframe(): void {
    this.#socket.send({ type: 'keyframe' });
  }

  /** Resolves after the last packet. Idempotent; never fails. */
  async stop(): Promise<void> {
    if (this.#ended) {
      return;
    }
    const stopped = within(STOP_TIMEOUT_MS, 'the recorder did not stop', (resolve) => {
      this.#onStopped = resolve;
    });
    if (this.#isConnected) {
      this.#socket.send({ type: 'stop' });
    } else {
      this.#onStopped?.();
    }
    await stopped.catch((error: unknown) => {
      this.#logger.warn({ err: error }, 'recorder stopped late');
    });
    this.#ended = true;
    clearInterval(this.#fillTimer);
    if (this.#startUs !== undefined) {
      this.#writePcm(this.#pcmTimeline.fillUntil(this.#lastVideoPtsUs));
    }
  }

  /** Ends without waiting for anything. */
  close(): void {
    this.#ended = true;
    clearInterval(this.#fillTimer);
  }

  #onChunk(chunk: CapturedChunk): void {
    if (this.#ended) {
      return;
    }
    if (chunk.kind === 'video') {
      this.#onVideo(chunk);
    } else if (this.#startUs !== undefined) {
      this.#onPcm(chunk, this.#startUs);
    } else if (this.#earlyPcm.length < MAX_EARLY_PCM) {
      this.#earlyPcm.push(chunk);
    }
  }

  #onVideo(chunk: CapturedVideo): void {
    const localUs = this.#videoClock.toLocalUs(
      chunk.captureUs,
      this.#workerClock.toLocalUs(chunk.arrivalUs),
      [0, this.#workerClock.toLocalUs(0)],
    );
    if (this.#startUs === undefined) {
      if (!chunk.key) {
        return;
      }
      this.#startUs = localUs;
      for (const pcm of this.#earlyPcm.splice(0)) {
        this.#onPcm(pcm, localUs);
      }
      this.#onFirstFrame?.();
    }
    const ptsUs = Math.round(localUs - this.#startUs);
    this.#lastVideoPtsUs = ptsUs;
    this.events.emit('video', {
      kind: 'video',
      ptsUs,
      dtsUs: ptsUs,
      durationUs: 0,
      key: chunk.key,
      data: chunk.data,
    });
  }

  #onPcm(chunk: CapturedPcm, startUs: number): void {
    if (chunk.sampleRateHz !== this.#sampleRateHz) {
      this.#rateMismatches += 1;
      if (this.#rateMismatches === 1) {
        const { sampleRateHz } = chunk;
        this.#logger.warn({ sampleRateHz }, 'page sound changed its rate, silence takes its place');
      }
      return;
    }
    const localUs = this.#audioClock.toLocalUs(
      chunk.captureUs,
      this.#workerClock.toLocalUs(chunk.arrivalUs),
      [this.#workerClock.toLocalUs(0), 0],
    );
    this.#writePcm(this.#pcmTimeline.add(Math.round(localUs - startUs - this.#audioLateUs), chunk.data));
  }

  #writePcm(chunks: readonly TimedPcm[]): void {
    for (const chunk of chunks) {
      this.events.emit('pcm', chunk);
    }
  }

  #onEvent(event: RecorderEvent): void {
    switch (event.type) {
      case 'clock':
        this.#onClock(event.id, event.workerUs);
        return;
      case 'audio':
        this.#sampleRateHz ??= event.sampleRateHz;
        this.#onAudioKnown?.();
        return;
      case 'stats':
        this.#stats = event.stats;
        return;
      case 'stopped':
        this.#stats = event.stats;
        this.#onStopped?.();
        return;
      case 'error':
        if (!this.#ended) {
          this.events.emit('failed', new ServiceError('internal', `page capture failed: ${event.message}`));
        }
        return;
    }
  }

  #askClock(id: number): void {
    const sentUs = systemMonotonicUs();
    this.#clockAsked.set(id, sentUs);
    this.#socket.send({ type: 'clock', id, sentUs });
  }

  #onClock(id: number, workerUs: number): void {
    const askedUs = this.#clockAsked.get(id);
    if (askedUs === undefined) {
      return;
    }
    this.#clockAsked.delete(id);
    this.#workerClock.addSample(askedUs, workerUs, systemMonotonicUs());
    if (id + 1 < CLOCK_SAMPLES) {
      this.#askClock(id + 1);
    } else {
      this.#onClockKnown?.();
    }
  }

  #nowUs(): number {
    return systemMonotonicUs() - (this.#startUs ?? 0);
  }
}

function within(timeoutMs: number, message: string, begin: (resolve: () => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new ServiceError('internal', `${message} (waited ${timeoutMs / 1000} s)`));
    }, timeoutMs);
    begin(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
