import { SafeEmitter } from '../../services/base/events.ts';
import type { EncodedPacket } from '../../services/model/packet.ts';
import type {
  ConnectRoom,
  PublishOptions,
  RoomClient,
  RoomClientEvents,
  RoomClientOptions,
  TrackPublisher,
  TrackPublisherEvents,
} from '../../services/rtc-client/room-client-types.ts';

export type FakeTrack = { options: PublishOptions; packets: EncodedPacket[]; unpublished: boolean };

/** A room that keeps what is published into it. */
export class FakeRoom {
  readonly connections: RoomClientOptions[] = [];
  readonly tracks: FakeTrack[] = [];
  attributes: Record<string, string> = {};
  /** Names given to the participant after joining. */
  readonly profiles: { name: string; metadata: string }[] = [];
  /** Causes of the clients that left. */
  readonly left: string[] = [];
  events = new SafeEmitter<RoomClientEvents>();
  /** Joining waits for this. */
  gate: Promise<void> = Promise.resolve();
  joinError: Error | undefined;
  readonly #changed = new Set<() => void>();

  track(kind: 'audio' | 'video'): FakeTrack | undefined {
    return this.tracks.find(({ options }) => options.format.kind === kind);
  }

  packets(kind: 'audio' | 'video'): EncodedPacket[] {
    return this.track(kind)?.packets ?? [];
  }

  /** Resolves as soon as `condition` holds; it is looked at after every packet, join and leave. */
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const check = (): void => {
        if (condition()) {
          this.#changed.delete(check);
          resolve();
        }
      };
      this.#changed.add(check);
      check();
    });
  }

  readonly connect: ConnectRoom = async (options) => {
    this.connections.push(options);
    this.#notify();
    await Promise.race([this.gate, aborted(options.signal)]);
    if (this.joinError !== undefined) {
      throw this.joinError;
    }
    return this.#client();
  };

  #notify(): void {
    for (const check of [...this.#changed]) {
      check();
    }
  }

  #client(): RoomClient {
    return {
      roomSid: 'RM_fake',
      roomName: 'studio',
      participantSid: 'PA_fake',
      identity: 'obs',
      events: this.events,
      tracks: () => [],
      participants: () => [],
      publish: (options) => Promise.resolve(this.#publish(options)),
      subscribe: () => Promise.reject(new Error('an ingress does not subscribe')),
      updateAttributes: (attributes) => {
        this.attributes = { ...this.attributes, ...attributes };
        this.#notify();
      },
      updateProfile: (profile) => {
        this.profiles.push(profile);
        this.#notify();
      },
      close: (cause) => {
        this.left.push(cause);
        this.#notify();
        return Promise.resolve();
      },
    };
  }

  #publish(options: PublishOptions): TrackPublisher {
    const track: FakeTrack = { options, packets: [], unpublished: false };
    this.tracks.push(track);
    return {
      trackSid: `TR_${this.tracks.length}`,
      write: (packet) => {
        track.packets.push(packet);
        this.#notify();
      },
      setMuted: () => undefined,
      events: new SafeEmitter<TrackPublisherEvents>(),
      unpublish: () => {
        track.unpublished = true;
        return Promise.resolve();
      },
    };
  }
}

function aborted(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal?.addEventListener('abort', () => {
      reject(new Error('joining was given up'));
    });
  });
}
