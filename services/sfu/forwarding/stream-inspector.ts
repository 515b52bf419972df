import { parseSps } from '../../media/codecs/h264-sps.ts';
import { parseVp8Header } from '../../media/codecs/vp8.ts';
import { readU16 } from '../../media/rtp/bytes.ts';
import { emptyVp8Descriptor, parseVp8Descriptor } from '../../media/rtp/vp8-descriptor.ts';
import type { InboundStream } from './inbound-stream.ts';

const RTP_VIDEO_CLOCK_HZ = 90_000;
/** What one look reads at most: the whole retransmission history. */
const MAX_PACKETS = 512;
const H264_SPS = 7;
const H264_STAP_A = 24;

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
  readonly #codec: string;
  readonly #descriptor = emptyVp8Descriptor();
  #next = -1;
  #width = 0;
  #height = 0;
  #framesPerSecond = 0;

  /** @param codec as in an rtpmap line, lower case; sizes are known of h264 and vp8. */
  constructor(codec: string) {
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
    if (this.#codec === 'vp8') {
      this.#readVp8(payload);
    } else if (this.#codec === 'h264') {
      this.#readH264(payload);
    }
  }

  #readVp8(payload: Buffer): void {
    const { valid, keyFrame, headerLength } = parseVp8Descriptor(payload, this.#descriptor);
    const header = valid && keyFrame ? parseVp8Header(payload.subarray(headerLength)) : undefined;
    if (header?.key === true) {
      this.#width = header.width;
      this.#height = header.height;
    }
  }

  /** An SPS travels alone or in front of others in a STAP-A (RFC 6184 section 5.7.1). */
  #readH264(payload: Buffer): void {
    const type = (payload[0] ?? 0) & 0x1f;
    if (type === H264_SPS) {
      this.#readSps(payload);
    } else if (type === H264_STAP_A) {
      for (let offset = 1; offset + 2 < payload.length;) {
        const end = offset + 2 + readU16(payload, offset);
        if (((payload[offset + 2] ?? 0) & 0x1f) === H264_SPS) {
          this.#readSps(payload.subarray(offset + 2, end));
        }
        offset = end;
      }
    }
  }

  #readSps(nal: Buffer): void {
    try {
      ({ width: this.#width, height: this.#height } = parseSps(nal));
    } catch {
      // Somebody else's malformed stream: its size stays unknown, decoders will complain.
    }
  }
}
