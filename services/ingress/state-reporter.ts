import {
  IngressState,
  IngressState_Status,
  InputAudioState,
  InputVideoState,
  type IngressInfo,
} from '@livekit/protocol';
import { unixNs } from '../base/clock.ts';
import { ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { redactText } from '../base/redact.ts';
import type { Bus } from '../bus/bus.ts';
import { IOInfo } from '../bus/rpc-methods.ts';

export type StatusName = 'buffering' | 'publishing' | 'inactive' | 'complete' | 'error';

const STATUS: Readonly<Record<StatusName, IngressState_Status>> = {
  buffering: IngressState_Status.ENDPOINT_BUFFERING,
  publishing: IngressState_Status.ENDPOINT_PUBLISHING,
  inactive: IngressState_Status.ENDPOINT_INACTIVE,
  complete: IngressState_Status.ENDPOINT_COMPLETE,
  error: IngressState_Status.ENDPOINT_ERROR,
};

export type VideoReport = {
  mimeType: string;
  width: number;
  height: number;
  framerate: number;
  bitsPerS: number;
};
export type AudioReport = { mimeType: string; channels: number; sampleRateHz: number; bitsPerS: number };

/** A track that is left out; how often the picture's key frames come. */
export type WarningTopic = 'track' | 'keyframes';

/** Keeps the record of one session that everybody can list up to date, one report after the other. */
export class StateReporter {
  readonly #bus: Bus;
  readonly #ingressId: string;
  readonly #logger: Logger;
  readonly #state: IngressState;
  #queue: Promise<void> = Promise.resolve();
  readonly #onDeleted: () => void;
  #error = '';
  readonly #warnings: Record<WarningTopic, string> = { track: '', keyframes: '' };

  /** @param onDeleted the endpoint does not exist any more. */
  constructor(bus: Bus, info: IngressInfo, resourceId: string, logger: Logger, onDeleted: () => void) {
    this.#bus = bus;
    this.#ingressId = info.ingressId;
    this.#logger = logger;
    this.#onDeleted = onDeleted;
    this.#state = new IngressState({ resourceId, startedAt: unixNs() });
  }

  get status(): StatusName {
    const { status } = this.#state;
    return (Object.keys(STATUS) as StatusName[]).find((name) => STATUS[name] === status) ?? 'inactive';
  }

  /** A copy of what was reported last. */
  snapshot(): IngressState {
    return this.#state.clone();
  }

  setRoom(roomSid: string): void {
    this.#state.roomId = roomSid;
  }

  /** What the encoder sends. */
  setInput(video: VideoReport | undefined, audio: AudioReport | undefined): void {
    if (video !== undefined) {
      this.#state.video = new InputVideoState({
        mimeType: video.mimeType,
        averageBitrate: video.bitsPerS,
        width: video.width,
        height: video.height,
        framerate: video.framerate,
      });
    }
    if (audio !== undefined) {
      this.#state.audio = new InputAudioState({
        mimeType: audio.mimeType,
        averageBitrate: audio.bitsPerS,
        channels: audio.channels,
        sampleRate: audio.sampleRateHz,
      });
    }
  }

  /** @param error for status "error"; the first one is kept. */
  setStatus(status: StatusName, error = ''): void {
    this.#state.status = STATUS[status];
    this.#error ||= redactText(error);
    this.#tell();
    if (status === 'inactive' || status === 'complete' || status === 'error') {
      this.#state.endedAt = unixNs();
    }
  }

  /**
   * What is wrong while the session goes on; '' = nothing any more. LiveKit's field is for errors and "non compliance".
   * A session that fails says so with setStatus.
   */
  setWarning(about: WarningTopic, text: string): void {
    this.#warnings[about] = redactText(text);
    this.#tell();
  }

  #tell(): void {
    const { track, keyframes } = this.#warnings;
    this.#state.error = this.#error || [track, keyframes].filter((text) => text !== '').join('; ');
  }

  /** Sends the state as it is now. Resolves when it was taken or given up; never rejects. */
  report(): Promise<void> {
    this.#state.updatedAt = unixNs();
    const state = this.#state.clone();
    this.#queue = this.#queue.then(async () => {
      try {
        await this.#bus.request(IOInfo.updateIngressState, { ingressId: this.#ingressId, state });
      } catch (error) {
        this.#logger.warn({ err: error }, 'ingress state not stored');
        if (error instanceof ServiceError && error.code === 'not_found') {
          this.#onDeleted();
        }
      }
    });
    return this.#queue;
  }
}
