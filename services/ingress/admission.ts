import { ServiceError } from '../base/errors.ts';

/** What a session does with its media, as far as it costs CPU time. */
export type IngressWork =
  'rtmp' | 'rtmpTranscoding' | 'srt' | 'whip' | 'whipBypassTranscoding' | 'url' | 'urlTranscoding';

/** Cores one session of each kind reserves; LiveKit's names; it has one for RTMP, one for URLs and none for SRT. */
export type IngressCpuCost = Readonly<Record<IngressWork, number>>;

/**
 * Measured (docs/measured.md), rounded up. What is transcoded is 1080p30 H.264 that becomes 720p30 in three layers.
 */
export const DEFAULT_INGRESS_CPU_COST: IngressCpuCost = {
  rtmp: 0.04,
  rtmpTranscoding: 0.7,
  srt: 0.08,
  whip: 0.7,
  whipBypassTranscoding: 0.04,
  url: 0.1,
  urlTranscoding: 0.7,
};
export const DEFAULT_MAX_CPU_UTILIZATION = 0.9;

/** Decides by reserved cores whether this node takes another session; an idle node always does. */
export class IngressAdmission {
  readonly #cost: IngressCpuCost;
  readonly #availableCores: number;
  readonly #work = new Map<string, IngressWork>();

  constructor(options: { cores: number; cost: IngressCpuCost; maxCpuUtilization: number }) {
    this.#cost = options.cost;
    this.#availableCores = options.cores * options.maxCpuUtilization;
  }

  get reservedCores(): number {
    return [...this.#work.values()].reduce((sum, work) => sum + this.#cost[work], 0);
  }

  /** What runs, once for every session. */
  work(): IngressWork[] {
    return [...this.#work.values()];
  }

  fits(work: IngressWork): boolean {
    return this.#work.size === 0 || this.reservedCores + this.#cost[work] <= this.#availableCores;
  }

  /** @throws ServiceError resource_exhausted with the numbers. */
  reserve(ingressId: string, work: IngressWork): void {
    if (!this.fits(work)) {
      throw new ServiceError(
        'resource_exhausted',
        `not enough CPU on this node: the stream needs ${this.#cost[work]} cores, ` +
          `${this.reservedCores.toFixed(2)} of ${this.#availableCores.toFixed(2)} are taken by ${this.#work.size} others`,
      );
    }
    this.#work.set(ingressId, work);
  }

  /** A running session turned out to do something else: it goes on, whatever that leaves for others. */
  change(ingressId: string, work: IngressWork): void {
    if (this.#work.has(ingressId)) {
      this.#work.set(ingressId, work);
    }
  }

  release(ingressId: string): void {
    this.#work.delete(ingressId);
  }
}
