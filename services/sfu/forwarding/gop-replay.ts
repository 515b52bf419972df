import { startsKeyframe, type KeyframeCodec } from '../../media/rtp/keyframe.ts';
import { timestampDistance } from '../../media/rtp/sequence.ts';
import { emptyVp8Descriptor, parseVp8Descriptor } from '../../media/rtp/vp8-descriptor.ts';
import type { InboundStream } from './inbound-stream.ts';
import type { PacketView, TrackPublication } from './track-publication.ts';

/** Packets this far behind the newest may still be repaired. */
const MAY_STILL_COME = 64;
/** What goes out per tick of 20 ms: about 20 Mbit/s, which Linux' default receive buffer takes in one go. */
const MIN_TICK_BYTES = 48 * 1024;
/** Of the stream's own rate, where that is more. */
const SPEED = 4;
/** Old pictures get times this much closer together, so that a player shows the newest as soon as it is decoded. */
const SQUEEZE = 64;

/** Of a layer whose publication keeps its pictures; undefined when there is none to begin with. */
export function findReplay(publication: TrackPublication, layer: number): GopReplay | undefined {
  const { keyframeCodec: codec, options } = publication;
  const stream = publication.streamOf(layer);
  if (options.keepsGop !== true || codec === undefined || stream === undefined) {
    return undefined;
  }
  const start = lastKeyframe(stream, codec);
  return start === undefined ? undefined : new GopReplay({ stream, codec, start });
}

/** Extended sequence number of the first packet of the last key frame; undefined when it, or a packet since, is gone. */
function lastKeyframe(stream: InboundStream, codec: KeyframeCodec): number | undefined {
  const newest = stream.highestSequence;
  let start: number | undefined;
  for (let sequence = newest; sequence >= 0; sequence -= 1) {
    const payload = stream.payloadOf(sequence);
    if (start !== undefined && stream.timestampOf(sequence) !== stream.timestampOf(start)) {
      return start;
    }
    if (payload === undefined) {
      if (start !== undefined || newest - sequence >= MAY_STILL_COME) {
        return start;
      }
    } else if (startsKeyframe(codec, payload)) {
      start = sequence;
    }
  }
  return start;
}

/**
 * Sends one subscription what came since the last key frame, faster than it came, until it has caught up with the stream.
 * A publisher that cannot make a key frame when asked (RTMP, OBS over WHIP) is so seen at once, and nobody else notices.
 */
export class GopReplay {
  readonly stream: InboundStream;
  readonly #view: PacketView;
  readonly #isVp8: boolean;
  #next: number;
  #lastIn: number | undefined;
  #lastOut: number | undefined;

  /** @param start what lastKeyframe found. */
  constructor(options: { stream: InboundStream; codec: KeyframeCodec; start: number }) {
    this.stream = options.stream;
    this.#next = options.start;
    this.#view = {
      stream: options.stream,
      payload: Buffer.alloc(0),
      sequence: options.start,
      timestamp: 0,
      marker: false,
      key: true,
      vp8: emptyVp8Descriptor(),
      dependencyDescriptor: undefined,
      nowMs: 0,
    };
    this.#isVp8 = options.codec === 'vp8';
    this.#load(0);
  }

  /** The key frame's first packet, before `run` was called. */
  get first(): PacketView {
    return this.#view;
  }

  /** Of the newest packet, which the last one sent will be. */
  get liveTimestamp(): number {
    return this.stream.timestampOf(this.stream.highestSequence);
  }

  /**
   * Sends the next burst. True once everything is sent and the outgoing time has reached the stream's own.
   * @param offset from the stream's timestamps to the outgoing ones.
   * @param lastTimestamp the outgoing one sent last; undefined when nothing was sent so far.
   */
  run(
    nowMs: number,
    offset: number,
    lastTimestamp: number | undefined,
    send: (view: PacketView, timestamp: number) => void,
  ): boolean {
    this.#lastOut ??= lastTimestamp;
    let budget = Math.max(MIN_TICK_BYTES, (this.stream.bitrateKbps / 8) * 20 * SPEED);
    const newest = this.stream.highestSequence;
    for (; this.#next <= newest && budget > 0; this.#next += 1) {
      if (!this.#load(nowMs)) {
        if (newest - this.#next < MAY_STILL_COME) {
          return false;
        }
        continue;
      }
      budget -= this.#view.payload.length;
      send(this.#view, this.#timestamp(offset));
    }
    const live = this.liveTimestamp + offset;
    return this.#next > newest && timestampDistance(live, this.#lastOut ?? live) >= 0;
  }

  #load(nowMs: number): boolean {
    const view = this.#view;
    const payload = this.stream.payloadOf(this.#next);
    if (payload === undefined) {
      return false;
    }
    view.payload = payload;
    view.sequence = this.#next;
    view.timestamp = this.stream.timestampOf(this.#next);
    view.marker = this.stream.markerOf(this.#next);
    view.dependencyDescriptor = this.stream.descriptorOf(this.#next);
    view.nowMs = nowMs;
    if (this.#isVp8) {
      parseVp8Descriptor(payload, view.vp8);
    }
    return true;
  }

  /** Rises with every frame and ends at the stream's own time: sender reports, and so lip sync, stay true. */
  #timestamp(offset: number): number {
    const { timestamp } = this.#view;
    if (timestamp !== this.#lastIn || this.#lastOut === undefined) {
      const behind = Math.max(0, timestampDistance(this.liveTimestamp, timestamp));
      const squeezed = (this.liveTimestamp - Math.ceil(behind / SQUEEZE) + offset) >>> 0;
      const isLater = this.#lastOut === undefined || timestampDistance(squeezed, this.#lastOut) > 0;
      this.#lastOut = isLater ? squeezed : ((this.#lastOut ?? 0) + 1) >>> 0;
      this.#lastIn = timestamp;
    }
    return this.#lastOut;
  }
}
