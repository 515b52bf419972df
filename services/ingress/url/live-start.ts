import { monotonicUs } from '../../base/clock.ts';

/** What a reader had stored comes out of it within this time. */
const SETTLE_US = 100_000;

type Timed = { ptsUs: number };
export type Arrived<T> = { packet: T; arrivalUs: number };

/**
 * Packets of a live input with the time they came. What a reader had stored while it looked at its input comes in one go:
 * it is held until that is over, and given out as if each packet had come at its own time, the last one now.
 */
export async function* withArrival<T extends Timed>(
  packets: AsyncIterable<T>,
  nowUs: () => number = monotonicUs,
): AsyncGenerator<Arrived<T>, void> {
  let held: Arrived<T>[] | undefined = [];
  for await (const packet of packets) {
    const arrived = { packet, arrivalUs: nowUs() };
    if (held === undefined) {
      yield arrived;
      continue;
    }
    held.push(arrived);
    if (arrived.arrivalUs - (held[0]?.arrivalUs ?? 0) > SETTLE_US) {
      yield* spread(held);
      held = undefined;
    }
  }
  yield* spread(held ?? []);
}

function spread<T extends Timed>(held: readonly Arrived<T>[]): Arrived<T>[] {
  const offsetUs = Math.min(...held.map(({ packet, arrivalUs }) => arrivalUs - packet.ptsUs));
  return held.map(({ packet, arrivalUs }) => ({
    packet,
    arrivalUs: Math.min(arrivalUs, packet.ptsUs + offsetUs),
  }));
}
