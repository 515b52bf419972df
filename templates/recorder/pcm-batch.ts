import { HEADER_BYTES } from '../../services/egress/capture/packet-framing.ts';

/** Chrome yields 10 ms at a time; a message for each would wake four processes a hundred times a second. */
const BATCH_MS = 40;
/** Sound that starts this far from the end of the batch does not belong to it. */
const MAX_JITTER_US = 2_000;

export type PcmMessage = {
  sampleRateHz: number;
  captureUs: number;
  /** Room for the packet header, then interleaved stereo, 16 bit little endian. */
  message: Uint8Array<ArrayBuffer>;
};

/** Joins consecutive chunks of tab sound into larger messages. */
export class PcmBatch {
  readonly #send: (pcm: PcmMessage) => void;
  #samples = new Int16Array(0);
  #frames = 0;
  #captureUs = 0;
  #sampleRateHz = 0;
  #plane = new Float32Array(0);

  constructor(send: (pcm: PcmMessage) => void) {
    this.#send = send;
  }

  add(chunk: AudioData): void {
    const { numberOfFrames, sampleRate, timestamp } = chunk;
    if (this.#frames > 0 && !this.#continues(sampleRate, timestamp)) {
      this.flush();
    }
    if (this.#frames === 0) {
      this.#captureUs = timestamp;
      this.#sampleRateHz = sampleRate;
    }
    this.#reserve(numberOfFrames);
    this.#append(chunk);
    this.#frames += numberOfFrames;
    if (this.#frames * 1000 >= BATCH_MS * sampleRate) {
      this.flush();
    }
  }

  flush(): void {
    if (this.#frames === 0) {
      return;
    }
    const message = new Uint8Array(HEADER_BYTES + this.#frames * 4);
    // Every machine Chrome runs on is little endian, as the message is.
    message.set(new Uint8Array(this.#samples.buffer, 0, this.#frames * 4), HEADER_BYTES);
    this.#frames = 0;
    this.#send({ sampleRateHz: this.#sampleRateHz, captureUs: this.#captureUs, message });
  }

  #continues(sampleRateHz: number, captureUs: number): boolean {
    const endUs = this.#captureUs + (this.#frames * 1e6) / this.#sampleRateHz;
    return sampleRateHz === this.#sampleRateHz && Math.abs(captureUs - endUs) < MAX_JITTER_US;
  }

  #reserve(frames: number): void {
    const needed = (this.#frames + frames) * 2;
    if (this.#samples.length < needed) {
      const larger = new Int16Array(needed * 2);
      larger.set(this.#samples.subarray(0, this.#frames * 2));
      this.#samples = larger;
    }
    if (this.#plane.length < frames) {
      this.#plane = new Float32Array(frames);
    }
  }

  #append(chunk: AudioData): void {
    const { numberOfFrames, numberOfChannels } = chunk;
    const plane = this.#plane.subarray(0, numberOfFrames);
    for (let channel = 0; channel < 2; channel += 1) {
      chunk.copyTo(plane, { planeIndex: Math.min(channel, numberOfChannels - 1), format: 'f32-planar' });
      let at = this.#frames * 2 + channel;
      for (const level of plane) {
        this.#samples[at] = Math.max(-32_768, Math.min(32_767, Math.round(level * 32_767)));
        at += 2;
      }
    }
  }
}
