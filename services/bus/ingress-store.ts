import { IngressState, IngressState_Status, type IngressInfo } from '@livekit/protocol';

/** The configured ingress endpoints with their latest state. Implementations return copies. */
export type IngressStore = {
  /** Stores the configuration; the state that comes with it only where `stateAfterPut` lets it. */
  put(info: IngressInfo): Promise<void>;
  get(ingressId: string): Promise<IngressInfo | undefined>;
  getByStreamKey(streamKey: string): Promise<IngressInfo | undefined>;
  /** In an order that stays (memory: oldest first; Redis: by id); without a room name all. */
  list(roomName?: string): Promise<IngressInfo[]>;
  /**
   * Replaces the state unless it is older than the stored one.
   * "missing": the ingress was deleted meanwhile; "stale": ignored.
   */
  updateState(ingressId: string, state: IngressState): Promise<'stored' | 'stale' | 'missing'>;
  delete(ingressId: string): Promise<void>;
};

export class MemoryIngressStore implements IngressStore {
  readonly #byId = new Map<string, IngressInfo>();
  readonly #idByStreamKey = new Map<string, string>();

  put(info: IngressInfo): Promise<void> {
    const stored = this.#byId.get(info.ingressId);
    const copy = info.clone();
    copy.state = stateAfterPut(stored?.state, info.state);
    if (stored !== undefined) {
      this.#idByStreamKey.delete(stored.streamKey);
    }
    this.#byId.set(info.ingressId, copy);
    if (info.streamKey !== '') {
      this.#idByStreamKey.set(info.streamKey, info.ingressId);
    }
    return Promise.resolve();
  }

  get(ingressId: string): Promise<IngressInfo | undefined> {
    return Promise.resolve(this.#byId.get(ingressId)?.clone());
  }

  getByStreamKey(streamKey: string): Promise<IngressInfo | undefined> {
    const ingressId = this.#idByStreamKey.get(streamKey);
    return ingressId === undefined ? Promise.resolve(undefined) : this.get(ingressId);
  }

  list(roomName?: string): Promise<IngressInfo[]> {
    const matches = [...this.#byId.values()].filter(
      (info) => roomName === undefined || info.roomName === roomName,
    );
    return Promise.resolve(matches.map((info) => info.clone()));
  }

  updateState(ingressId: string, state: IngressState): Promise<'stored' | 'stale' | 'missing'> {
    const info = this.#byId.get(ingressId);
    if (info === undefined) {
      return Promise.resolve('missing');
    }
    if (!isNewerState(info.state, state)) {
      return Promise.resolve('stale');
    }
    info.state = state.clone();
    return Promise.resolve('stored');
  }

  delete(ingressId: string): Promise<void> {
    const info = this.#byId.get(ingressId);
    if (info !== undefined) {
      this.#byId.delete(ingressId);
      this.#idByStreamKey.delete(info.streamKey);
    }
    return Promise.resolve();
  }
}

/** A session that started earlier never overwrites a later one; within a session updated_at decides. */
export function isNewerState(stored: IngressState | undefined, update: IngressState): boolean {
  if (stored === undefined || update.startedAt > stored.startedAt) {
    return true;
  }
  return update.startedAt === stored.startedAt && update.updatedAt >= stored.updatedAt;
}

/**
 * The state after somebody wrote the configuration: his may have been read long ago. A state that belongs to no
 * session (started_at 0) is a reset, and only a session that does not run can be reset.
 */
export function stateAfterPut(
  stored: IngressState | undefined,
  given: IngressState | undefined,
): IngressState {
  if (stored === undefined || given === undefined) {
    return (given ?? stored ?? new IngressState()).clone();
  }
  const isReset = given.startedAt === 0n && !isLiveState(stored);
  return (isReset || isNewerState(stored, given) ? given : stored).clone();
}

const LIVE: ReadonlySet<IngressState_Status> = new Set([
  IngressState_Status.ENDPOINT_BUFFERING,
  IngressState_Status.ENDPOINT_PUBLISHING,
]);

/** A session runs, as far as anybody was told. */
export function isLiveState({ status }: IngressState): boolean {
  return LIVE.has(status);
}
