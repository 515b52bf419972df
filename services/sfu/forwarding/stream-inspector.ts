import type { KeyframeCodec } from '../../media/rtp/keyframe.ts';
import { pictureSizeOf } from '../../media/rtp/picture-size.ts';
import type { InboundStream } from './inbound-stream.ts';

const RTP_VIDEO_CLOCK_HZ = 90_000;
/** What one look reads at most: the whole retransmission history. */
const MAX_PACKETS = 512;

export type StreamFacts = {
  width: number;
  height: number;
  framesPerSecond: number;
  packets: number;
  bytes: number;
  lastPacketMs: number;
};

/**
 * Reads picture size and rate of one stream out of the packets that are kept for retransmission. Nothing is done per
 * packet, and a key frame that slipped out of the history between two looks is seen at a later one.
 */
export class StreamInspector {
  readonly #codec: KeyframeCodec | undefined;
  #next = -1;
  #width = 0;
  #height = 0;
  #framesPerSecond = 0;

  /** @param codec undefined: no video. */
  constructor(codec: KeyframeCodec | undefined) {
    this.#codec = codec;
  }

  read(stream: InboundStream): StreamFacts {
    const end = stream.highestSequence + 1;
    const start = Math.max(this.#next, end - MAX_PACKETS, 0);
    if (end > 0 && end > start) {
      this.#next = end;
      this.#measure(stream, start, end);
    }
    return {
      width: this.#width,
      height: this.#height,
      framesPerSecond: this.#framesPerSecond,
      packets: stream.packets,
      bytes: stream.bytes,
      lastPacketMs: stream.lastPacketMs,
    };
  }

  #measure(stream: InboundStream, start: number, end: number): void {
    let frames = 0;
    let first = -1;
    let last = -1;
    for (let sequence = start; sequence < end; sequence += 1) {
      const payload = stream.payloadOf(sequence);
      if (payload === undefined || payload.length === 0) {
        continue;
      }
      const timestamp = stream.timestampOf(sequence);
      if (timestamp !== last) {
        frames += 1;
        first = first < 0 ? timestamp : first;
        last = timestamp;
      }
      this.#readSize(payload);
    }
    const elapsed = (last - first) >>> 0;
    // Half a second at least; anything beyond a minute is a restarted clock.
    if (elapsed > RTP_VIDEO_CLOCK_HZ / 2 && elapsed < RTP_VIDEO_CLOCK_HZ * 60) {
      this.#framesPerSecond = Math.round((10 * (frames - 1) * RTP_VIDEO_CLOCK_HZ) / elapsed) / 10;
    }
  }

  #readSize(payload: Buffer): void {
    const size = this.#codec === undefined ? undefined : pictureSizeOf(this.#codec, payload);
    this.#width = size?.width ?? this.#width;
    this.#height = size?.height ?? this.#height;
  }
}
