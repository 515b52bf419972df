import { SessionDescription as WireDescription } from '@livekit/protocol';
import { ServiceError } from '../base/errors.ts';

type Waiter = { offerId: number; resolve: () => void; reject: (error: Error) => void };

/**
 * One offer under way at a time; what changes meanwhile goes into the next one. Offers carry rising ids, and an answer
 * to any but the latest is stale (the server echoes the id).
 */
export class Negotiator {
  readonly #createOffer: () => string;
  readonly #send: (offer: WireDescription) => void;
  readonly #waiters = new Set<Waiter>();
  #lastId = 0;
  #pendingId = 0;
  #dirty = false;
  #lastOffer: WireDescription | undefined;

  constructor(options: { createOffer: () => string; send: (offer: WireDescription) => void }) {
    this.#createOffer = options.createOffer;
    this.#send = options.send;
  }

  get lastOffer(): WireDescription | undefined {
    return this.#lastOffer;
  }

  /** The first offer travels with the join request instead of being sent. */
  initialOffer(): WireDescription {
    return this.#next();
  }

  /** Resolves when an offer made after this call was answered. */
  negotiate(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#pendingId === 0) {
        this.#send(this.#next());
        this.#waiters.add({ offerId: this.#lastId, resolve, reject });
      } else {
        this.#dirty = true;
        this.#waiters.add({ offerId: this.#lastId + 1, resolve, reject });
      }
    });
  }

  /** The pending offer was lost with its signalling connection: send a new one, also for those who wait for it. */
  renegotiate(): Promise<void> {
    this.#pendingId = 0;
    this.#dirty = false;
    return this.negotiate();
  }

  /** False when the answer is stale. Call settle() once it is applied. */
  accepts(answerId: number): boolean {
    return this.#pendingId !== 0 && (answerId === 0 || answerId === this.#pendingId);
  }

  /** The answer to the pending offer was applied. */
  settle(): void {
    const answered = this.#pendingId;
    this.#pendingId = 0;
    for (const waiter of [...this.#waiters]) {
      if (waiter.offerId <= answered) {
        this.#waiters.delete(waiter);
        waiter.resolve();
      }
    }
    if (this.#dirty) {
      this.#dirty = false;
      this.#send(this.#next());
    }
  }

  close(cause: string): void {
    for (const waiter of [...this.#waiters]) {
      this.#waiters.delete(waiter);
      waiter.reject(new ServiceError('aborted', `negotiation ended: ${cause}`));
    }
  }

  #next(): WireDescription {
    this.#lastId += 1;
    this.#pendingId = this.#lastId;
    this.#lastOffer = new WireDescription({ type: 'offer', sdp: this.#createOffer(), id: this.#lastId });
    return this.#lastOffer;
  }
}
