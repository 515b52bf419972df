import { MIX_RATE_HZ, type MixBuffer } from './mix-buffer.ts';

/** Where a track is heard. */
export type MixChannel = 'both' | 'left' | 'right';

const SAMPLES_PER_US = MIX_RATE_HZ / 1e6;
/** Times that leave out more than this between two packets are a hole (loss, DTX), not a correction of the clock. */
const HOLE_US = 8_000;
/** A track this far from its place is moved there at once; nearer ones are stretched. */
const MAX_DEVIATION = 0.04 * MIX_RATE_HZ;
/** Below this, nothing is done: nobody hears a millisecond. */
const DEAD_BAND = 0.001 * MIX_RATE_HZ;
/** Beyond this, stretching hurries. */
const FAR = 0.025 * MIX_RATE_HZ;
/** Share of a packet by which it is made longer or shorter: drift of clocks is far below, and pitch stays. */
const STRETCH = { near: 0.004, far: 0.01 } as const;
/**
 * The times of a new track are corrected most within its first second (its first packets come in a burst, then sender
 * reports tell): so long it is held back, and put down in one go, on the place that its newest packet says.
 */
const SETTLE_US = 1_000_000;
/** What is held back is given out this long before it is mixed. */
const RELEASE_LEAD = 0.3 * MIX_RATE_HZ;
/** Sound that stops or starts abruptly is faded over this length. */
const FADE = 120;

type Held = { ptsUs: number; left: Float32Array; right: Float32Array };

/**
 * One track of the mix: puts decoded packets where their times say. Packets in a row stay in a row; small deviations
 * of the clock are followed by stretching, holes become silence with soft edges.
 */
export class MixLane {
  readonly #buffer: MixBuffer;
  readonly #channel: MixChannel;
  /** Undefined once the track has its place. */
  #settling: Held[] | undefined = [];
  /** Where the next packet in a row goes. */
  #cursor: number | undefined;
  #expectedUs = 0;
  /** End of the last packet, held back until it is known whether sound goes on: it belongs right before the cursor. */
  #tail: { left: Float32Array; right: Float32Array } | undefined;

  constructor(buffer: MixBuffer, channel: MixChannel) {
    this.#buffer = buffer;
    this.#channel = channel;
  }

  /** Position behind the last sample; 0 before the first. */
  get end(): number {
    return this.#cursor ?? 0;
  }

  /** Takes both arrays over. @param ptsUs time of the first sample since the start of the recording. */
  place(ptsUs: number, left: Float32Array, right: Float32Array): void {
    const held = this.#settling;
    if (held === undefined) {
      this.#place(ptsUs, left, right);
      return;
    }
    held.push({ ptsUs, left, right });
    if (ptsUs - (held[0]?.ptsUs ?? ptsUs) >= SETTLE_US) {
      this.#settle(held);
    }
  }

  /** Gives out what is held back and would otherwise be missed. @param limit position up to which is mixed next. */
  release(limit: number): void {
    const held = this.#settling;
    if (held?.[0] !== undefined && held[0].ptsUs * SAMPLES_PER_US < limit + RELEASE_LEAD) {
      this.#settle(held);
    }
  }

  #settle(held: readonly Held[]): void {
    this.#settling = undefined;
    const placed: Held[] = [];
    let next: { ptsUs: number; startUs: number } | undefined;
    // Backwards from the newest: what followed without a hole still does.
    for (const { ptsUs, left, right } of [...held].reverse()) {
      const durationUs = left.length / SAMPLES_PER_US;
      const gapUs = next === undefined ? 0 : next.ptsUs - ptsUs - durationUs;
      const startUs = next === undefined ? ptsUs : next.startUs - durationUs - (gapUs > HOLE_US ? gapUs : 0);
      placed.push({ ptsUs: startUs, left, right });
      next = { ptsUs, startUs };
    }
    for (const { ptsUs, left, right } of placed.reverse()) {
      this.#place(ptsUs, left, right);
    }
  }

  #place(ptsUs: number, left: Float32Array, right: Float32Array): void {
    const samples = left.length;
    const target = Math.round(ptsUs * SAMPLES_PER_US);
    const durationUs = samples / SAMPLES_PER_US;
    const deviation = this.#cursor === undefined ? 0 : target - this.#cursor;
    if (deviation < -MAX_DEVIATION) {
      // Lies in what was already put down; later packets catch up.
      this.#expectedUs = ptsUs + durationUs;
      return;
    }
    const isHole = ptsUs - this.#expectedUs > HOLE_US || deviation > MAX_DEVIATION;
    const continues = this.#cursor !== undefined && !isHole;
    this.#expectedUs = ptsUs + durationUs;
    const routed = route(this.#channel, left, right);
    if (continues) {
      const stretched = Math.round(samples + correction(deviation, samples));
      this.#flushTail(false);
      this.#put(this.#cursor ?? target, resize(routed.left, stretched), resize(routed.right, stretched));
      return;
    }
    const start = this.#cursor === undefined ? target : Math.max(target, this.#cursor);
    this.#flushTail(true);
    fade(routed, 'in');
    this.#put(start, routed.left, routed.right);
  }

  /** The sound stops here. */
  finish(): void {
    if (this.#settling !== undefined) {
      this.#settle(this.#settling);
    }
    this.#flushTail(true);
  }

  #put(position: number, left: Float32Array, right: Float32Array): void {
    const body = Math.max(0, left.length - FADE);
    this.#buffer.add(position, left.subarray(0, body), right.subarray(0, body));
    this.#tail = { left: left.subarray(body), right: right.subarray(body) };
    this.#cursor = position + left.length;
  }

  #flushTail(ends: boolean): void {
    if (this.#tail === undefined) {
      return;
    }
    if (ends) {
      fade(this.#tail, 'out');
    }
    const { left, right } = this.#tail;
    this.#buffer.add((this.#cursor ?? 0) - left.length, left, right);
    this.#tail = undefined;
  }
}

/** Samples to add to (or take from) a packet so that it draws nearer to its time. */
function correction(deviation: number, samples: number): number {
  const distance = Math.abs(deviation);
  if (distance < DEAD_BAND) {
    return 0;
  }
  const limit = samples * (distance > FAR ? STRETCH.far : STRETCH.near);
  return Math.max(-limit, Math.min(limit, deviation));
}

function route(
  channel: MixChannel,
  left: Float32Array,
  right: Float32Array,
): { left: Float32Array; right: Float32Array } {
  if (channel === 'both') {
    return { left, right };
  }
  const mono = left.map((value, index) => (value + (right[index] ?? 0)) / 2);
  const silent = new Float32Array(left.length);
  return channel === 'left' ? { left: mono, right: silent } : { left: silent, right: mono };
}

/** The same sound over another number of samples, by linear interpolation. */
function resize(pcm: Float32Array, samples: number): Float32Array {
  if (samples === pcm.length || samples < 2 || pcm.length < 2) {
    return pcm;
  }
  const out = new Float32Array(samples);
  const step = (pcm.length - 1) / (samples - 1);
  for (let index = 0; index < samples; index += 1) {
    const at = index * step;
    const whole = Math.min(Math.floor(at), pcm.length - 2);
    const before = pcm[whole] ?? 0;
    out[index] = before + ((pcm[whole + 1] ?? 0) - before) * (at - whole);
  }
  return out;
}

/** Ramps the first (or last) samples of both channels in place. */
function fade(pcm: { left: Float32Array; right: Float32Array }, direction: 'in' | 'out'): void {
  const samples = Math.min(FADE, pcm.left.length);
  const from = direction === 'in' ? 0 : pcm.left.length - samples;
  for (let index = 0; index < samples; index += 1) {
    const gain = (direction === 'in' ? index : samples - 1 - index) / samples;
    pcm.left[from + index] = (pcm.left[from + index] ?? 0) * gain;
    pcm.right[from + index] = (pcm.right[from + index] ?? 0) * gain;
  }
}
