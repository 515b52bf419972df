/** Someone must speak this long before the picture follows; a cough does not move the stage. */
const TAKE_OVER_MS = 600;

export type StageCandidate = {
  id: string;
  role: 'camera' | 'screen';
  hasPicture: boolean;
  isSpeaking: boolean;
  /** When the tile appeared, milliseconds; earlier tiles come first. */
  joinedAtMs: number;
};

/**
 * Orders tiles by importance and keeps that order calm: shared screens first, then whoever holds the stage,
 * then people with a picture, then the others, each by the time they joined.
 */
export class StageOrder {
  #holder: string | undefined;
  readonly #speakingSinceMs = new Map<string, number>();

  order<Candidate extends StageCandidate>(candidates: readonly Candidate[], nowMs: number): Candidate[] {
    this.#trackSpeakers(candidates, nowMs);
    this.#holder = this.#nextHolder(candidates, nowMs);
    const rank = (candidate: StageCandidate): number => {
      if (candidate.role === 'screen') {
        return 0;
      }
      return candidate.id === this.#holder ? 1 : candidate.hasPicture ? 2 : 3;
    };
    return candidates.toSorted(
      (a, b) => rank(a) - rank(b) || a.joinedAtMs - b.joinedAtMs || (a.id < b.id ? -1 : 1),
    );
  }

  /** Milliseconds until a speaker who is waiting may take the stage; undefined when nobody waits. */
  nextChangeMs(nowMs: number): number | undefined {
    const waits = [...this.#speakingSinceMs]
      .filter(([id]) => id !== this.#holder)
      .map(([, sinceMs]) => sinceMs + TAKE_OVER_MS - nowMs)
      .filter((waitMs) => waitMs > 0);
    return waits.length === 0 ? undefined : Math.min(...waits);
  }

  #trackSpeakers(candidates: readonly StageCandidate[], nowMs: number): void {
    const speaking = new Set(candidates.filter((c) => c.role === 'camera' && c.isSpeaking).map((c) => c.id));
    for (const id of this.#speakingSinceMs.keys()) {
      if (!speaking.has(id)) {
        this.#speakingSinceMs.delete(id);
      }
    }
    for (const id of speaking) {
      if (!this.#speakingSinceMs.has(id)) {
        this.#speakingSinceMs.set(id, nowMs);
      }
    }
  }

  #nextHolder(candidates: readonly StageCandidate[], nowMs: number): string | undefined {
    const cameras = candidates.filter((c) => c.role === 'camera');
    const holder = cameras.find((c) => c.id === this.#holder);
    if (holder?.isSpeaking === true) {
      return holder.id;
    }
    const ready = cameras
      .filter((c) => nowMs - (this.#speakingSinceMs.get(c.id) ?? Infinity) >= TAKE_OVER_MS)
      .sort((a, b) => (this.#speakingSinceMs.get(a.id) ?? 0) - (this.#speakingSinceMs.get(b.id) ?? 0));
    return ready[0]?.id ?? holder?.id ?? cameras.find((c) => c.hasPicture)?.id ?? cameras[0]?.id;
  }
}
