/** The one rate of the mix: what Opus decodes to. */
export const MIX_RATE_HZ = 48_000;

/** Must be a power of two: positions wrap by masking. 5.4 s, far more than any delay of the mix. */
const CAPACITY = 1 << 18;
const MASK = CAPACITY - 1;

/** Up to here the sum is left as it is. */
const KNEE = 0.8;

/**
 * The sum of all tracks around the moment that is mixed next. A mix is linear, so tracks add their samples straight
 * into one ring and need no buffers of their own. Positions count samples from the start of the recording.
 */
export class MixBuffer {
  readonly #left = new Float32Array(CAPACITY);
  readonly #right = new Float32Array(CAPACITY);
  #position = 0;
  #droppedSamples = 0;

  /** Next sample to be read; what is added before it comes too late. */
  get position(): number {
    return this.#position;
  }

  /** Samples that came too late, or too far ahead to be kept. */
  get droppedSamples(): number {
    return this.#droppedSamples;
  }

  /** Adds both channels at a position. The arrays have the same length; they are not kept. */
  add(position: number, left: Float32Array, right: Float32Array): void {
    const from = Math.max(0, this.#position - position);
    const to = Math.min(left.length, this.#position + CAPACITY - position);
    this.#droppedSamples += left.length - Math.max(0, to - from);
    for (let index = from; index < to; index += 1) {
      const at = (position + index) & MASK;
      this.#left[at] = (this.#left[at] ?? 0) + (left[index] ?? 0);
      this.#right[at] = (this.#right[at] ?? 0) + (right[index] ?? 0);
    }
  }

  /** Takes the next samples out as interleaved signed 16-bit little endian, softly clipped. */
  read(samples: number): Buffer {
    const out = Buffer.alloc(samples * 4);
    const pcm = new Int16Array(out.buffer, out.byteOffset, samples * 2);
    for (let index = 0; index < samples; index += 1) {
      const at = (this.#position + index) & MASK;
      pcm[2 * index] = softClip(this.#left[at] ?? 0) * 32_767;
      pcm[2 * index + 1] = softClip(this.#right[at] ?? 0) * 32_767;
      this.#left[at] = 0;
      this.#right[at] = 0;
    }
    this.#position += samples;
    return out;
  }
}

/** Bends what exceeds the knee so that the sum of several loud voices approaches ±1 instead of being cut off. */
export function softClip(value: number): number {
  if (value <= KNEE && value >= -KNEE) {
    return value;
  }
  const room = 1 - KNEE;
  return value > 0
    ? KNEE + room * Math.tanh((value - KNEE) / room)
    : -KNEE + room * Math.tanh((value + KNEE) / room);
}
