import { ServiceError } from '../../base/errors.ts';
import type { MediaJob } from '../../model/egress-plan.ts';
import type { RemoteTrack, RoomClient } from '../../rtc-client/room-client-types.ts';
import { connectionLost, isRoomEnd, stoppedBeforeStart } from './room-end.ts';
import { chooseVideo, type AudioRouting } from './track-choice.ts';

/** A track or participant that is back within this time was never gone. */
const GRACE_MS = 2_500;

const ROOM_CHANGES = [
  'trackPublished',
  'trackUnpublished',
  'trackMuted',
  'participantJoined',
  'participantLeft',
  'reconnected',
] as const;

/** Follows who and what is in the room, as far as one job cares. */
export class RoomWatch {
  readonly #job: MediaJob;
  readonly #client: RoomClient;
  readonly #routing: AudioRouting;
  #graceTimer: NodeJS.Timeout | undefined;

  constructor(job: MediaJob, client: RoomClient, routing: AudioRouting) {
    this.#job = job;
    this.#client = client;
    this.#routing = routing;
  }

  /** Calls back after anything that can change the choice of tracks. */
  onChange(listener: () => void): void {
    for (const name of ROOM_CHANGES) {
      this.#client.events.on(name, listener);
    }
  }

  /** Calls back when what the job records is gone for good. */
  onGone(listener: () => void): void {
    this.onChange(() => {
      if (!this.#isGone()) {
        clearTimeout(this.#graceTimer);
        this.#graceTimer = undefined;
      } else {
        this.#graceTimer ??= setTimeout(listener, GRACE_MS);
      }
    });
  }

  close(): void {
    clearTimeout(this.#graceTimer);
  }

  /** The one participant of the job, '' when it is not about one. */
  get identity(): string {
    const { video, audio } = this.#job;
    if (video.from === 'participant') {
      return video.identity;
    }
    const route = audio.routes.find(({ match }) => match.by === 'participant');
    return route?.match.by === 'participant' ? route.match.identity : '';
  }

  video(): RemoteTrack | undefined {
    return chooseVideo(this.#client.tracks(), this.#job.video);
  }

  audio(): { track: RemoteTrack; channel: 'both' | 'left' | 'right' }[] {
    const kinds = new Map(this.#client.participants().map(({ sid, kind }) => [sid, kind]));
    return this.#client.tracks().flatMap((track) => {
      const channel = this.#routing.channelOf(track, kinds.get(track.participantSid) ?? 'standard');
      return channel === undefined ? [] : [{ track, channel }];
    });
  }

  /**
   * Resolves when everybody and everything the job names is in the room and, unless it is about the whole room,
   * something is published.
   * @throws ServiceError not_found with LiveKit's text; aborted when the participant or the room goes before it has
   *   published anything; canceled; unavailable.
   */
  async arrival(waitMs: number, signal: AbortSignal): Promise<void> {
    await this.#until(() => this.#missing() === undefined, signal, waitMs);
    if (this.#job.endsWith !== 'room') {
      await this.#until(() => this.#hasTracks(), signal);
    }
  }

  #missing(): string | undefined {
    const { video, audio, endsWith } = this.#job;
    if (video.from === 'participant' || endsWith === 'participant') {
      const { identity } = this;
      return this.#isPresent(identity) ? undefined : `participant ${identity} not found`;
    }
    const named = [
      ...(video.from === 'track' ? [video.trackId] : []),
      ...audio.routes.flatMap(({ match }) => (match.by === 'track' ? [match.trackId] : [])),
    ];
    const published = new Set(this.#client.tracks().map(({ trackSid }) => trackSid));
    const missing = named.find((trackId) => !published.has(trackId));
    return missing === undefined ? undefined : `track ${missing} not found`;
  }

  #isPresent(identity: string): boolean {
    return this.#client.participants().some((participant) => participant.identity === identity);
  }

  #hasTracks(): boolean {
    return this.video() !== undefined || this.audio().length > 0;
  }

  #isGone(): boolean {
    switch (this.#job.endsWith) {
      case 'room':
        return false;
      case 'participant':
        return !this.#isPresent(this.identity);
      case 'tracks':
        return !this.#hasTracks();
    }
  }

  #until(isReached: () => boolean, signal: AbortSignal, timeoutMs?: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const cleanUps: (() => void)[] = [];
      const settle = (act: () => void): void => {
        for (const cleanUp of cleanUps) {
          cleanUp();
        }
        act();
      };
      const fail = (error: ServiceError): void => {
        settle(() => {
          reject(error);
        });
      };
      const check = (): void => {
        if (isReached()) {
          settle(resolve);
        } else if (timeoutMs === undefined && this.#job.endsWith === 'participant' && this.#isGone()) {
          fail(new ServiceError('aborted', `participant ${this.identity} left without publishing anything`));
        }
      };
      const onAbort = (): void => {
        fail(stoppedBeforeStart());
      };
      const timer =
        timeoutMs === undefined
          ? undefined
          : setTimeout(() => {
              fail(new ServiceError('not_found', this.#missing() ?? 'media not found'));
            }, timeoutMs);
      signal.addEventListener('abort', onAbort, { once: true });
      cleanUps.push(
        () => {
          clearTimeout(timer);
        },
        () => {
          signal.removeEventListener('abort', onAbort);
        },
        this.#client.events.on('disconnected', ({ reason }) => {
          const isEnd = isRoomEnd(reason);
          fail(
            isEnd ? new ServiceError('aborted', 'the room ended before media came') : connectionLost(reason),
          );
        }),
        ...ROOM_CHANGES.map((name) => this.#client.events.on(name, check)),
      );
      if (signal.aborted) {
        onAbort();
      } else {
        check();
      }
    });
  }
}
