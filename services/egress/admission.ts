import { ServiceError } from '../base/errors.ts';

/** Cores one job reserves; LiveKit's config names. */
export type CpuCost = {
  roomComposite: number;
  web: number;
  audioRoomComposite: number;
  participant: number;
  trackComposite: number;
  track: number;
};
export const DEFAULT_CPU_COST: CpuCost = {
  roomComposite: 0.9,
  web: 0.9,
  audioRoomComposite: 0.1,
  participant: 0.7,
  trackComposite: 0.7,
  track: 0.02,
};
export const DEFAULT_MAX_CPU_UTILIZATION = 0.9;

/** LiveKit's bids: a busy node that still has room is preferred, so that jobs pack onto few nodes. */
export const AFFINITY = { refused: -1, full: 0.01, idle: 0.5, busy: 1 } as const;

/** Decides by reserved cores whether this node takes another job; an idle node always does. */
export class Admission {
  readonly #availableCores: number;
  readonly #reserved = new Map<string, number>();

  constructor(cores: number, maxCpuUtilization = DEFAULT_MAX_CPU_UTILIZATION) {
    this.#availableCores = cores * maxCpuUtilization;
  }

  get reservedCores(): number {
    return [...this.#reserved.values()].reduce((sum, cores) => sum + cores, 0);
  }

  get jobs(): number {
    return this.#reserved.size;
  }

  affinity(costCores: number): number {
    if (this.jobs === 0) {
      return AFFINITY.idle;
    }
    // A full node still bids lowest: when nobody else does, its refusal says why.
    return this.#fits(costCores) ? AFFINITY.busy : AFFINITY.full;
  }

  /** @throws ServiceError unavailable with the numbers; already_exists for an id that is running. */
  reserve(egressId: string, costCores: number): void {
    if (this.#reserved.has(egressId)) {
      throw new ServiceError('already_exists', `egress ${egressId} already exists`);
    }
    if (this.jobs > 0 && !this.#fits(costCores)) {
      throw new ServiceError(
        'unavailable',
        `not enough CPU: the job needs ${costCores} cores, ${this.reservedCores.toFixed(2)} of ${this.#availableCores.toFixed(2)} are taken by ${this.jobs} jobs`,
      );
    }
    this.#reserved.set(egressId, costCores);
  }

  release(egressId: string): void {
    this.#reserved.delete(egressId);
  }

  #fits(costCores: number): boolean {
    return this.reservedCores + costCores <= this.#availableCores;
  }
}
