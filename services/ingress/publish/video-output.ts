import type { EncodedPacket, VideoCodec, VideoFormat } from '../../model/packet.ts';
import { clampLayer, type LayerIndex } from '../../model/track.ts';
import { MonotonicTime } from './encoder-clock.ts';

type Frame = { ptsUs: number; key: boolean; data: Uint8Array };

/** The packets of one published track: each layer in rising time, from its first key frame on. */
export class VideoOutput {
  readonly #onPacket: (packet: EncodedPacket) => void;
  readonly #onFormat: (format: VideoFormat) => void;
  #format: VideoFormat | undefined;
  #times: MonotonicTime[] = [];
  #started = new Set<LayerIndex>();

  constructor(options: {
    onFormat: (format: VideoFormat) => void;
    onPacket: (packet: EncodedPacket) => void;
  }) {
    this.#onFormat = options.onFormat;
    this.#onPacket = options.onPacket;
  }

  /** Undefined while there is no track. */
  get codec(): VideoCodec | undefined {
    return this.#format?.codec;
  }

  /** 1 while there is no track. */
  get layerCount(): number {
    return this.#format?.layers?.length ?? 1;
  }

  get topLayer(): LayerIndex {
    return clampLayer(this.layerCount - 1);
  }

  /** A new track, lowest layer first; it takes the place of the one before. */
  publish(codec: VideoCodec, sizes: readonly { width: number; height: number }[]): void {
    const { width = 0, height = 0 } = sizes.at(-1) ?? {};
    const layers = sizes.map((size, index) => ({
      layer: clampLayer(index),
      width: size.width,
      height: size.height,
    }));
    this.#format = { kind: 'video', codec, width, height, ...(layers.length > 1 ? { layers } : {}) };
    this.#times = layers.map(() => new MonotonicTime());
    this.#started = new Set();
    this.#onFormat(this.#format);
  }

  write(layer: LayerIndex, { ptsUs, key, data }: Frame): void {
    const time = this.#times[layer];
    if (time === undefined || (!key && !this.#started.has(layer))) {
      return; // nothing can be decoded before the first key frame
    }
    this.#started.add(layer);
    const timeUs = time.next(ptsUs);
    const packet = { kind: 'video', ptsUs: timeUs, dtsUs: timeUs, durationUs: 0, key, data } as const;
    this.#onPacket(this.#times.length > 1 ? { ...packet, layer } : packet);
  }
}
