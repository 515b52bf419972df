import { ServiceError } from '../base/errors.ts';
import type { RpcRouting } from './bus.ts';
import { noResponse } from './deadline.ts';
import { errorFromResponse } from './psrpc-errors.ts';
import type { ClaimRequest, Response } from './psrpc-frames.ts';

/** psrpc's: who has not bid by then does not get the request. */
const SELECTION_TIMEOUT_MS = 1_000;
/** A bid that cannot be beaten. */
const BEST_AFFINITY = 1;

/**
 * Chooses one of the servers that bid for a request: without affinity the first; with affinity the first that
 * bids 1, else the highest within the method's short-circuit time after the first bid.
 */
export class ServerSelection {
  /** @throws ServiceError unavailable when nobody bid, or only servers that cannot take it. */
  readonly selected: Promise<string>;
  readonly #routing: Pick<RpcRouting, 'affinity' | 'shortCircuitMs'>;
  readonly #timers: NodeJS.Timeout[] = [];
  #settle: (outcome: string | ServiceError) => void = () => undefined;
  #best: { serverId: string; affinity: number } | undefined;
  #bids = 0;
  #refusal: ServiceError | undefined;

  constructor(routing: Pick<RpcRouting, 'affinity' | 'shortCircuitMs'>) {
    this.#routing = routing;
    this.selected = new Promise((resolve, reject) => {
      this.#settle = (outcome) => {
        this.#timers.forEach(clearTimeout);
        if (outcome instanceof ServiceError) {
          reject(outcome);
        } else {
          resolve(outcome);
        }
      };
    });
    this.selected.catch(() => undefined);
  }

  /** The request was sent: time runs. */
  start(): void {
    this.#timers.push(setTimeout(() => this.#close(), SELECTION_TIMEOUT_MS));
  }

  onClaim({ serverId, affinity }: ClaimRequest): void {
    this.#bids += 1;
    if (!this.#routing.affinity || affinity >= BEST_AFFINITY) {
      this.#settle(serverId);
      return;
    }
    if (affinity > (this.#best?.affinity ?? 0)) {
      if (this.#best === undefined) {
        this.#timers.push(setTimeout(() => this.#close(), this.#routing.shortCircuitMs));
      }
      this.#best = { serverId, affinity };
    }
  }

  /** A server that cannot decode a request says so instead of bidding; another one may still bid. */
  onRefusal(response: Response): void {
    if (response.error !== '') {
      this.#refusal ??= errorFromResponse(response);
    }
  }

  /** The caller gave up, or has its answer. */
  cancel(): void {
    this.#timers.forEach(clearTimeout);
  }

  #close(): void {
    if (this.#best !== undefined) {
      this.#settle(this.#best.serverId);
    } else if (this.#bids > 0) {
      this.#settle(
        new ServiceError('unavailable', `no servers available (received ${this.#bids} responses)`),
      );
    } else {
      this.#settle(this.#refusal ?? noResponse());
    }
  }
}
