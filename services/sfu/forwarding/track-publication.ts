import {
  emptyVp8Descriptor,
  parseVp8Descriptor,
  type Vp8Descriptor,
} from '../../media/rtp/vp8-descriptor.ts';
import { startsKeyframe, type KeyframeCodec } from '../../media/rtp/keyframe.ts';
import type {
  LayerFacts,
  LayerStats,
  NegotiatedCodec,
  Publication,
  PublicationOptions,
} from '../media-types.ts';
import { StreamInspector } from './stream-inspector.ts';
import type { TrackForwarder } from './track-forwarder.ts';
import type { PublisherClock } from './publisher-clock.ts';
import type { InboundStream } from './inbound-stream.ts';

/** Encoders need time to make a key frame; asking more often only makes more of them. */
const PLI_INTERVAL_MS = 500;
/** A layer that was silent this long while another one runs has been switched off by the publisher. */
const LAYER_SILENCE_MS = 1_000;
const LAYER_RUNNING_MS = 400;

/** What a packet carries beyond its payload; one object per publication is refilled for each packet. */
export type PacketView = {
  stream: InboundStream;
  payload: Buffer;
  /** Extended. */
  sequence: number;
  timestamp: number;
  marker: boolean;
  /** Decoding can start here. */
  key: boolean;
  /** Of VP8; `valid` is false for everything else. */
  vp8: Vp8Descriptor;
  dependencyDescriptor: Buffer | undefined;
  nowMs: number;
};

/** A track as it arrives: its layers, and the forwarders that send it on. */
export class TrackPublication implements Publication {
  readonly mid: string;
  readonly kind: 'video' | 'audio';
  readonly codec: NegotiatedCodec;
  readonly options: PublicationOptions;
  readonly clock: PublisherClock;
  readonly forwarders = new Set<TrackForwarder>();
  /** Undefined for audio. */
  readonly keyframeCodec: KeyframeCodec | undefined;
  readonly #sendPli: (ssrc: number) => void;
  /** By layer: the stream that carries it now. */
  readonly #streams: (InboundStream | undefined)[] = [];
  readonly #inspectors: StreamInspector[] = [];
  readonly #lastPliMs: number[] = [];
  /** Copy of the set: iterating a Set allocates, and this happens for every packet. */
  #active: TrackForwarder[] = [];
  #view: PacketView | undefined;
  readonly #vp8 = emptyVp8Descriptor();
  #audioLevel: number | undefined;

  constructor(options: {
    publication: PublicationOptions;
    clock: PublisherClock;
    sendPli: (ssrc: number) => void;
  }) {
    this.options = options.publication;
    this.mid = options.publication.mid;
    this.kind = options.publication.kind;
    this.codec = options.publication.codec;
    this.clock = options.clock;
    this.#sendPli = options.sendPli;
    this.keyframeCodec = keyframeCodecOf(options.publication.codec.name);
  }

  /** Without it decoders of these codecs cannot drop layers; VP8 and H.264 do not need it. */
  get needsDependencyDescriptor(): boolean {
    return this.codec.name === 'av1' || this.codec.name === 'vp9';
  }

  /** Layer 0 is the lowest; a track without simulcast has only that one. */
  streamOf(layer: number): InboundStream | undefined {
    return this.#streams[layer];
  }

  /** A new SSRC for a layer replaces the old one (the publisher restarted its sender). */
  addStream(stream: InboundStream, layer: number): void {
    this.#streams[layer] = stream;
    this.retargetAll();
  }

  attach(forwarder: TrackForwarder): void {
    this.forwarders.add(forwarder);
    this.#active = [...this.forwarders];
  }

  detach(forwarder: TrackForwarder): void {
    this.forwarders.delete(forwarder);
    this.#active = [...this.forwarders];
  }

  inspect(): LayerFacts[] {
    return this.#streams.flatMap((stream, layer) => {
      const inspector = (this.#inspectors[layer] ??= new StreamInspector(this.keyframeCodec));
      return stream === undefined ? [] : [{ layer, ...inspector.read(stream) }];
    });
  }

  layers(): LayerStats[] {
    const nowMs = performance.now();
    const stats: LayerStats[] = [];
    this.#streams.forEach((stream, layer) => {
      if (stream?.role.kind === 'media') {
        stats.push({
          layer,
          rid: stream.role.rid,
          bitrateKbps: stream.bitrateKbps,
          active: nowMs - stream.lastPacketMs < LAYER_SILENCE_MS,
          packets: stream.packets,
          lost: stream.lost,
        });
      }
    });
    return stats;
  }

  /** By layer, 0 = unknown or off. */
  layerBitratesKbps(): number[] {
    return Array.from(this.#streams, (stream) => stream?.bitrateKbps ?? 0);
  }

  takeAudioLevel(): number | undefined {
    const level = this.#audioLevel;
    this.#audioLevel = undefined;
    return level;
  }

  onAudioLevel(level: number): void {
    if (this.#audioLevel === undefined || level < this.#audioLevel) {
      this.#audioLevel = level;
    }
  }

  requestKeyframe(layer: number): void {
    const stream = this.#streams[layer];
    if (stream === undefined || this.kind !== 'video') {
      return;
    }
    const nowMs = performance.now();
    if (nowMs - (this.#lastPliMs[layer] ?? Number.NEGATIVE_INFINITY) >= PLI_INTERVAL_MS) {
      this.#lastPliMs[layer] = nowMs;
      this.#sendPli(stream.ssrc);
    }
  }

  /**
   * The layer to send when `wanted` is the highest allowed: the highest running one up to it; when all those are silent
   * while a higher one runs, the lowest running one; when none runs, the highest known up to `wanted`. -1 = none known.
   */
  bestLayer(wanted: number, nowMs: number): number {
    let newestMs = Number.NEGATIVE_INFINITY;
    for (const stream of this.#streams) {
      newestMs = Math.max(newestMs, stream?.lastPacketMs ?? Number.NEGATIVE_INFINITY);
    }
    const trackRuns = nowMs - newestMs < LAYER_RUNNING_MS;
    let best = -1;
    let lowestRunning = -1;
    for (let layer = 0; layer < this.#streams.length; layer += 1) {
      const stream = this.#streams[layer];
      if (stream === undefined) {
        continue;
      }
      const runs = !trackRuns || nowMs - stream.lastPacketMs < LAYER_SILENCE_MS;
      if (runs && layer <= wanted) {
        best = layer;
      }
      if (runs && lowestRunning < 0) {
        lowestRunning = layer;
      }
    }
    return best >= 0 ? best : lowestRunning;
  }

  retargetAll(): void {
    for (const forwarder of this.#active) {
      forwarder.retarget();
    }
  }

  /** The packet path. `payload` may be empty (padding only). */
  onMedia(
    stream: InboundStream,
    payload: Buffer,
    sequence: number,
    timestamp: number,
    marker: boolean,
    dependencyDescriptor: Buffer | undefined,
    nowMs: number,
  ): void {
    const active = this.#active;
    if (active.length === 0) {
      return;
    }
    const view = (this.#view ??= this.#createView(stream, payload));
    view.stream = stream;
    view.payload = payload;
    view.sequence = sequence;
    view.timestamp = timestamp;
    view.marker = marker;
    view.dependencyDescriptor = dependencyDescriptor;
    view.nowMs = nowMs;
    view.vp8.valid = false;
    if (this.keyframeCodec === undefined) {
      view.key = true;
    } else if (this.keyframeCodec === 'vp8') {
      view.key = parseVp8Descriptor(payload, view.vp8).keyFrame;
    } else {
      view.key = startsKeyframe(this.keyframeCodec, payload);
    }
    for (const forwarder of active) {
      forwarder.forward(view);
    }
  }

  #createView(stream: InboundStream, payload: Buffer): PacketView {
    return {
      stream,
      payload,
      sequence: 0,
      timestamp: 0,
      marker: false,
      key: false,
      vp8: this.#vp8,
      dependencyDescriptor: undefined,
      nowMs: 0,
    };
  }
}

function keyframeCodecOf(name: string): KeyframeCodec | undefined {
  switch (name) {
    case 'h264':
    case 'h265':
    case 'vp8':
    case 'vp9':
    case 'av1':
      return name;
    default:
      return undefined;
  }
}
