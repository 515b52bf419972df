import type { EncodedPacket } from '../../model/packet.ts';
import type { LayerIndex } from '../../model/track.ts';
import type { TrackPublisher } from '../../rtc-client/room-client-types.ts';

/** For each layer, while the room is being joined: enough for a long group of pictures, and a burst of audio nobody notices. */
const WAITING_LIMIT = { video: 600, audio: 25 } as const;
const MAX_WAITING_BYTES = 16_000_000;

/** Takes packets from the first one on; those from before the room has the track wait, back to the last key frame. */
export class PublishedTrack {
  readonly kind: 'video' | 'audio';
  #publisher: TrackPublisher | undefined;
  #waiting: EncodedPacket[] = [];
  #waitingBytes = 0;
  #layers = 1;
  #closed = false;

  constructor(kind: 'video' | 'audio') {
    this.kind = kind;
  }

  write(packet: EncodedPacket): void {
    if (this.#closed) {
      return;
    }
    if (this.#publisher !== undefined) {
      this.#publisher.write(packet);
      return;
    }
    if (this.kind === 'video' && packet.key) {
      this.#dropWaiting(packet.layer);
    }
    this.#layers = Math.max(this.#layers, (packet.layer ?? 0) + 1);
    this.#waiting.push(packet);
    this.#waitingBytes += packet.data.length;
    if (this.kind === 'audio' && this.#waiting.length > WAITING_LIMIT.audio) {
      this.#waiting.shift();
    } else if (
      this.#waiting.length > WAITING_LIMIT[this.kind] * this.#layers ||
      this.#waitingBytes > MAX_WAITING_BYTES
    ) {
      this.#dropAll();
    }
  }

  wasClosed(): boolean {
    return this.#closed;
  }

  /** The room has the track. */
  attach(publisher: TrackPublisher): void {
    this.#publisher = publisher;
    for (const packet of this.#waiting) {
      publisher.write(packet);
    }
    this.#dropAll();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#dropAll();
    await this.#publisher?.unpublish();
  }

  /** Everything of one layer. */
  #dropWaiting(layer: LayerIndex | undefined): void {
    this.#waiting = this.#waiting.filter((packet) => packet.layer !== layer);
    this.#waitingBytes = this.#waiting.reduce((sum, { data }) => sum + data.length, 0);
  }

  #dropAll(): void {
    this.#waiting = [];
    this.#waitingBytes = 0;
  }
}
