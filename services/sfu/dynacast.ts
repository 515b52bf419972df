import { SubscribedCodec, SubscribedQuality, SubscribedQualityUpdate, VideoQuality } from '@livekit/protocol';
import type { PublishedTrack } from './published-track.ts';

const QUALITIES = [VideoQuality.LOW, VideoQuality.MEDIUM, VideoQuality.HIGH] as const;

/** A publisher stops a layer only after nobody wanted it for this long; it starts one at once. */
const DOWNGRADE_DELAY_MS = 5000;

/** Tells one publisher which of its layers anybody wants, so that it encodes no others (LiveKit's dynacast). */
export class Dynacast {
  readonly #send: (update: SubscribedQualityUpdate) => void;
  /** Track id → highest wanted layer last told; -1 = none. */
  readonly #told = new Map<string, number>();
  readonly #pending = new Map<string, NodeJS.Timeout>();

  constructor(send: (update: SubscribedQualityUpdate) => void) {
    this.#send = send;
  }

  /** A subscription of `track` appeared, went, or changed its wanted layer. */
  demandChanged(track: PublishedTrack): void {
    if (track.kind !== 'video') {
      return;
    }
    const wanted = highestWanted(track);
    const told = this.#told.get(track.sid) ?? QUALITIES.length - 1;
    clearTimeout(this.#pending.get(track.sid));
    this.#pending.delete(track.sid);
    if (wanted > told || (wanted === told && !this.#told.has(track.sid))) {
      this.#tell(track, wanted);
    } else if (wanted < told) {
      const timer = setTimeout(() => {
        this.#pending.delete(track.sid);
        this.#tell(track, highestWanted(track));
      }, DOWNGRADE_DELAY_MS);
      this.#pending.set(track.sid, timer.unref());
    }
  }

  forget(trackSid: string): void {
    clearTimeout(this.#pending.get(trackSid));
    this.#pending.delete(trackSid);
    this.#told.delete(trackSid);
  }

  /** The client reconnected its signalling: what it was told counts again from scratch. */
  repeat(tracks: Iterable<PublishedTrack>): void {
    for (const track of tracks) {
      if (this.#told.has(track.sid)) {
        this.#tell(track, highestWanted(track));
      }
    }
  }

  close(): void {
    for (const timer of this.#pending.values()) {
      clearTimeout(timer);
    }
    this.#pending.clear();
  }

  #tell(track: PublishedTrack, highest: number): void {
    this.#told.set(track.sid, highest);
    const qualities = QUALITIES.map(
      (quality, layer) => new SubscribedQuality({ quality, enabled: layer <= highest }),
    );
    const codec = track.info.mimeType.split('/')[1]?.toLowerCase() ?? '';
    this.#send(
      new SubscribedQualityUpdate({
        trackSid: track.sid,
        // Clients read one or the other, depending on their age.
        subscribedQualities: qualities,
        subscribedCodecs: [new SubscribedCodec({ codec, qualities })],
      }),
    );
  }
}

function highestWanted(track: PublishedTrack): number {
  let highest = -1;
  for (const subscription of track.subscriptions) {
    highest = Math.max(highest, subscription.wantedLayer);
  }
  return highest;
}
