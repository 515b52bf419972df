/**
 * Whether a receiver's downlink is overloaded, from its REMB and loss reports. The estimate in a REMB never exceeds about
 * 1.5 times what the receiver gets and then climbs by 8 % a second, so it cannot say that there is room for more, and
 * after a switch to a higher layer it lies below what is sent for half a minute on a perfect network. It only counts when
 * it lies below what is being sent and does not climb; upwards is found by trying, ever more rarely when trying fails.
 */
const REMB_MAX_AGE_MS = 5_000;
const REMB_OVERUSE_RATIO = 0.85;
/** A receiver without trouble raises its estimate by about 8 % a second. */
const REMB_CLIMB_RATIO = 1.03;
const LOSS_OVERUSE = 0.1;
const MIN_SENT_KBPS = 100;
const MIN_LIMIT_KBPS = 50;
/** Evaluations in a row that must agree before a layer is taken away. */
const OVERUSE_TICKS = 2;
const FIRST_HOLD_MS = 5_000;
const MAX_HOLD_MS = 60_000;
const PROBE_INTERVAL_MS = 3_000;
const PROBE_FACTOR = 1.5;
/** Quiet for this long: the next overload counts as the first again. */
const FORGIVE_MS = 60_000;

export class DownlinkCongestion {
  #rembKbps = 0;
  #rembAtMs = 0;
  #evaluatedRembKbps = 0;
  #limitKbps = Number.POSITIVE_INFINITY;
  #overuseTicks = 0;
  #holdUntilMs = 0;
  #holdMs = FIRST_HOLD_MS;
  #lastOveruseMs = Number.NEGATIVE_INFINITY;

  get rembKbps(): number {
    return this.#rembKbps;
  }

  /** What may be sent; Infinity while nothing speaks against it. */
  get limitKbps(): number {
    return this.#limitKbps;
  }

  onRemb(kbps: number, nowMs: number): void {
    this.#rembKbps = kbps;
    this.#rembAtMs = nowMs;
  }

  /** Called about once a second. `wantedKbps` is what would be sent without a limit. */
  evaluate(input: { nowMs: number; sentKbps: number; wantedKbps: number; fractionLost: number }): number {
    const { nowMs, sentKbps } = input;
    const remb = nowMs - this.#rembAtMs < REMB_MAX_AGE_MS ? this.#rembKbps : 0;
    const climbs = remb > this.#evaluatedRembKbps * REMB_CLIMB_RATIO;
    this.#evaluatedRembKbps = remb;
    const byRemb = remb > 0 && remb < sentKbps * REMB_OVERUSE_RATIO && !climbs;
    const byLoss = input.fractionLost > LOSS_OVERUSE;
    if (sentKbps > MIN_SENT_KBPS && (byRemb || byLoss)) {
      this.#overuseTicks += 1;
      if (this.#overuseTicks >= OVERUSE_TICKS) {
        this.#overuseTicks = 0;
        const byLossKbps = sentKbps * (1 - input.fractionLost) * 0.8;
        this.#reduce(byRemb ? remb : byLossKbps, nowMs);
      }
      return this.#limitKbps;
    }
    this.#overuseTicks = 0;
    if (this.#limitKbps !== Number.POSITIVE_INFINITY && nowMs >= this.#holdUntilMs) {
      const raised = this.#limitKbps * PROBE_FACTOR;
      this.#limitKbps = raised > input.wantedKbps * PROBE_FACTOR ? Number.POSITIVE_INFINITY : raised;
      this.#holdUntilMs = nowMs + PROBE_INTERVAL_MS;
    }
    if (nowMs - this.#lastOveruseMs > FORGIVE_MS) {
      this.#holdMs = FIRST_HOLD_MS;
    }
    return this.#limitKbps;
  }

  #reduce(kbps: number, nowMs: number): void {
    this.#limitKbps = Math.max(MIN_LIMIT_KBPS, Math.min(this.#limitKbps, kbps));
    this.#holdUntilMs = nowMs + this.#holdMs;
    this.#holdMs = Math.min(MAX_HOLD_MS, this.#holdMs * 2);
    this.#lastOveruseMs = nowMs;
  }
}

export type AllocationTrack = {
  /** Bitrate by layer, lowest first; 0 = unknown. */
  layersKbps: readonly number[];
  /** Highest layer the subscriber wants. */
  maxLayer: number;
};

/**
 * Highest layer for each track so that the sum fits the limit: every track gets its lowest layer, then all are raised in
 * turn, layer by layer. Infinity = no cap.
 */
export function allocateLayers(tracks: readonly AllocationTrack[], limitKbps: number): number[] {
  if (limitKbps === Number.POSITIVE_INFINITY) {
    return tracks.map(() => Number.POSITIVE_INFINITY);
  }
  const caps = tracks.map(() => 0);
  let total = tracks.reduce((sum, track) => sum + layerKbps(track, 0), 0);
  const highest = Math.max(0, ...tracks.map(({ layersKbps }) => layersKbps.length - 1));
  for (let layer = 1; layer <= highest; layer += 1) {
    tracks.forEach((track, index) => {
      const step = layerKbps(track, layer) - layerKbps(track, layer - 1);
      if (
        caps[index] === layer - 1 &&
        layer < track.layersKbps.length &&
        layer <= track.maxLayer &&
        total + step <= limitKbps
      ) {
        caps[index] = layer;
        total += step;
      }
    });
  }
  return caps;
}

/** A layer that is switched off costs about three times the one below it. */
function layerKbps(track: AllocationTrack, layer: number): number {
  const known = track.layersKbps[layer] ?? 0;
  if (known > 0 || layer === 0) {
    return known;
  }
  return layerKbps(track, layer - 1) * 3;
}
