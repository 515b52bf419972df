import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf, ServiceError } from '../../base/errors.ts';
import { SafeEmitter } from '../../base/events.ts';
import type { Logger } from '../../base/logger.ts';
import type { EncodedPacket, TrackFormat } from '../../model/packet.ts';
import type {
  ConnectRoom,
  RemoteTrack,
  RoomClient,
  TrackSubscription,
} from '../../rtc-client/room-client-types.ts';
import type { TrackFacts } from '../handler-messages.ts';
import { connectionLost, isRoomEnd, stoppedBeforeStart } from '../room-media/room-end.ts';
import type { EgressSource, EgressSourceEvents } from './source-types.ts';

/** Nobody watches a recording live: waking up five times a second instead of for each packet halves its cost. */
const MEDIA_BATCH_MS = 200;
/** After this nothing published before the stop is held back any more; the server looks every 20 ms. */
const STOP_DELAY_MS = MEDIA_BATCH_MS + 50;
const UNPUBLISHED = 'the track was unpublished';

export type TrackSourceOptions = {
  trackId: string;
  wsUrl: string;
  /** Hidden recorder token. */
  token: string;
  connect: ConnectRoom;
  logger: Logger;
  /** How long the track may take to be published. */
  trackWaitMs: number;
};

export type TrackSource = EgressSource & {
  /** Known once start() has resolved. */
  readonly facts: TrackFacts;
};

/** One published track of a room as its publisher encoded it. */
export function createTrackSource(options: TrackSourceOptions): TrackSource {
  return new RoomTrackSource(options);
}

class RoomTrackSource implements TrackSource {
  readonly events: SafeEmitter<EgressSourceEvents>;
  readonly #options: TrackSourceOptions;
  #facts: TrackFacts;
  #client: RoomClient | undefined;
  #subscription: TrackSubscription | undefined;
  /** Session clock value of the first packet. */
  #startUs: number | undefined;
  #ended = false;
  #stopping: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: TrackSourceOptions) {
    this.#options = options;
    this.events = new SafeEmitter(options.logger);
    this.#facts = { trackId: options.trackId, publisherIdentity: '', trackType: '', trackSource: '' };
  }

  get facts(): TrackFacts {
    return this.#facts;
  }

  async start(signal: AbortSignal): Promise<{ kinds: ('video' | 'audio')[] }> {
    const { wsUrl, token, connect, logger, trackId } = this.#options;
    const client = await connect({
      ...{ url: wsUrl, token, logger, signal },
      autoSubscribe: false,
      mediaBatchMs: MEDIA_BATCH_MS,
    });
    this.#client = client;
    client.events.on('disconnected', ({ reason }) => {
      this.#onDisconnected(reason);
    });
    const track = await this.#findTrack(client, signal);
    this.#facts = {
      trackId,
      publisherIdentity: track.participantIdentity,
      trackType: track.kind,
      trackSource: track.source,
    };
    const subscription = await client.subscribe(trackId).catch((error: unknown) => {
      throw new ServiceError('unavailable', `failed to subscribe to track ${trackId}: ${messageOf(error)}`, {
        cause: error,
      });
    });
    this.#subscription = subscription;
    subscription.events.on('format', (format) => {
      this.#onFormat(format);
    });
    subscription.events.on('packet', (packet) => {
      this.#onPacket(packet);
    });
    subscription.events.on('lost', ({ packets }) => {
      logger.warn({ packets }, 'RTP packets lost for good');
    });
    subscription.events.on('ended', ({ cause }) => {
      if (cause === UNPUBLISHED) {
        this.#end();
      }
    });
    subscription.requestKeyframe();
    return { kinds: [track.kind] };
  }

  requestKeyframe(): void {
    this.#subscription?.requestKeyframe();
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  close(cause: string): Promise<void> {
    this.#closing ??= this.#close(cause);
    return this.#closing;
  }

  /** @throws ServiceError not_found when the track is not published in time. */
  async #findTrack(client: RoomClient, signal: AbortSignal): Promise<RemoteTrack> {
    const { trackId } = this.#options;
    const isWanted = (track: RemoteTrack): boolean => track.trackSid === trackId;
    const present = client.tracks().find(isWanted);
    if (present !== undefined) {
      return present;
    }
    return new Promise<RemoteTrack>((resolve, reject) => {
      const cleanUps: (() => void)[] = [];
      const settle = (act: () => void): void => {
        cleanUps.forEach((cleanUp) => {
          cleanUp();
        });
        act();
      };
      const timer = setTimeout(() => {
        settle(() => {
          reject(new ServiceError('not_found', `track ${trackId} not found`));
        });
      }, this.#options.trackWaitMs);
      const onAbort = (): void => {
        settle(() => {
          reject(stoppedBeforeStart());
        });
      };
      signal.addEventListener('abort', onAbort, { once: true });
      cleanUps.push(
        () => {
          clearTimeout(timer);
        },
        () => {
          signal.removeEventListener('abort', onAbort);
        },
        client.events.on('trackPublished', (track) => {
          if (isWanted(track)) {
            settle(() => {
              resolve(track);
            });
          }
        }),
        client.events.on('disconnected', ({ reason }) => {
          settle(() => {
            reject(connectionLost(reason));
          });
        }),
      );
      if (signal.aborted) {
        onAbort();
      }
    });
  }

  #onFormat(format: TrackFormat): void {
    if (!this.#ended) {
      this.events.emit('format', format);
    }
  }

  #onPacket(packet: EncodedPacket): void {
    if (this.#ended) {
      return;
    }
    if (this.#startUs === undefined) {
      if (!packet.key) {
        return; // nothing can be decoded before the first key frame
      }
      this.#startUs = packet.ptsUs;
    }
    const ptsUs = packet.ptsUs - this.#startUs;
    this.events.emit('packet', { ...packet, ptsUs, dtsUs: packet.dtsUs - this.#startUs });
  }

  #onDisconnected(reason: string): void {
    if (isRoomEnd(reason)) {
      this.#end();
    } else if (!this.#ended) {
      this.#ended = true;
      this.events.emit('ended', { reason: 'failed', error: connectionLost(reason) });
    }
  }

  #end(): void {
    if (!this.#ended) {
      this.#ended = true;
      this.events.emit('ended', { reason: 'source_closed' });
    }
  }

  async #stop(): Promise<void> {
    if (!this.#ended && this.#subscription !== undefined) {
      await sleep(STOP_DELAY_MS);
    }
    this.#ended = true;
    await this.#subscription?.unsubscribe().catch((error: unknown) => {
      this.#options.logger.debug({ err: error }, 'unsubscribe failed');
    });
  }

  async #close(cause: string): Promise<void> {
    this.#ended = true;
    await this.#client?.close(cause);
    this.events.removeAll();
  }
}
