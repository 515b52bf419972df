import type { EgressInfo } from '@livekit/protocol';
import { EgressStatus } from '@livekit/protocol';

/** Ended jobs stay listed this long, as in LiveKit. */
export const ENDED_EGRESS_TTL_MS = 24 * 3600 * 1000;

const ENDED: ReadonlySet<EgressStatus> = new Set([
  EgressStatus.EGRESS_COMPLETE,
  EgressStatus.EGRESS_FAILED,
  EgressStatus.EGRESS_ABORTED,
  EgressStatus.EGRESS_LIMIT_REACHED,
]);

/** True for the four statuses no job leaves again. */
export function isEnded(status: EgressStatus): boolean {
  return ENDED.has(status);
}

export type EgressFilter = { egressId?: string; roomName?: string; active?: boolean };

/** The records of all egress jobs that anybody can list. Implementations return copies. */
export type EgressStore = {
  /** Stores the first record, or applies a newer one. false = the update was older than what is stored. */
  put(info: EgressInfo): Promise<boolean>;
  get(egressId: string): Promise<EgressInfo | undefined>;
  /** Newest first. */
  list(filter: EgressFilter): Promise<EgressInfo[]>;
};

export class MemoryEgressStore implements EgressStore {
  readonly #records = new Map<string, { info: EgressInfo; endedAtMs: number | undefined }>();
  readonly #nowMs: () => number;

  constructor(nowMs: () => number = Date.now) {
    this.#nowMs = nowMs;
  }

  put(info: EgressInfo): Promise<boolean> {
    this.#sweep();
    const stored = this.#records.get(info.egressId);
    if (stored !== undefined && !supersedes(stored.info, info)) {
      return Promise.resolve(false);
    }
    const endedAtMs = isEnded(info.status) ? (stored?.endedAtMs ?? this.#nowMs()) : undefined;
    this.#records.set(info.egressId, { info: info.clone(), endedAtMs });
    return Promise.resolve(true);
  }

  get(egressId: string): Promise<EgressInfo | undefined> {
    this.#sweep();
    return Promise.resolve(this.#records.get(egressId)?.info.clone());
  }

  list(filter: EgressFilter): Promise<EgressInfo[]> {
    this.#sweep();
    const matches = [...this.#records.values()]
      .map((record) => record.info)
      .filter((info) => matchesFilter(info, filter))
      .map((info) => info.clone());
    return Promise.resolve(matches.reverse());
  }

  #sweep(): void {
    const limitMs = this.#nowMs() - ENDED_EGRESS_TTL_MS;
    for (const [egressId, record] of this.#records) {
      if (record.endedAtMs !== undefined && record.endedAtMs < limitMs) {
        this.#records.delete(egressId);
      }
    }
  }
}

/** An ended job never comes back to life, and time never runs backwards. */
export function supersedes(stored: EgressInfo, update: EgressInfo): boolean {
  if (isEnded(stored.status) && !isEnded(update.status)) {
    return false;
  }
  if (update.updatedAt === stored.updatedAt) {
    return update.status >= stored.status;
  }
  return update.updatedAt > stored.updatedAt;
}

export function matchesFilter(info: EgressInfo, filter: EgressFilter): boolean {
  return (
    (filter.egressId === undefined || info.egressId === filter.egressId) &&
    (filter.roomName === undefined || info.roomName === filter.roomName) &&
    (filter.active !== true || !isEnded(info.status))
  );
}
