import { ServiceError } from '../../base/errors.ts';
import { SafeEmitter } from '../../base/events.ts';
import type { Logger } from '../../base/logger.ts';
import type { IngressSettings } from '../../model/ingress.ts';
import type { VideoCodec } from '../../model/packet.ts';
import { clampLayer, type LayerIndex } from '../../model/track.ts';
import type { FlvVideo } from '../../protocol/flv.ts';
import { PassthroughDecision } from './passthrough-decision.ts';
import {
  createVideoBitstream,
  type SourceFrame,
  type StreamHeader,
  type VideoBitstream,
} from './video-bitstream.ts';

export type SideTracksEvents = { packet: { layer: LayerIndex; frame: SourceFrame } };

type Size = { width: number; height: number };
type SideTrack = {
  bitstream: VideoBitstream;
  decision: PassthroughDecision;
  header: StreamHeader | undefined;
  layer: LayerIndex | undefined;
  waitsForKey: boolean;
};

/** An encoder has at most this many sizes of a picture. */
const MAX_TRACKS = 8;
/** Simulcast has three layers, and the main track is one of them. */
const MAX_CHOSEN = 2;

/**
 * The video tracks beside the first one: what OBS calls multitrack video. Those that are smaller pictures in the same
 * codec become simulcast layers, untouched; a track that could not pass through is left out.
 */
export class SideTracks {
  readonly events: SafeEmitter<SideTracksEvents>;
  readonly #settings: IngressSettings['video'];
  readonly #logger: Logger;
  readonly #tracks = new Map<number, SideTrack>();
  #chosen: SideTrack[] = [];

  constructor(options: { settings: IngressSettings['video']; logger: Logger }) {
    this.#settings = options.settings;
    this.#logger = options.logger;
    this.events = new SafeEmitter(options.logger);
  }

  get areChosen(): boolean {
    return this.#chosen.length > 0;
  }

  /** What is wrong with a side track costs only that track. */
  push(trackId: number, dtsUs: number, codec: VideoCodec, video: FlvVideo): void {
    const track = this.#track(trackId, codec);
    if (track === undefined) {
      return;
    }
    try {
      this.#take(track, dtsUs, video);
    } catch (error) {
      this.#logger.warn({ err: ServiceError.from(error), trackId }, 'video track left out');
      track.layer = undefined;
      this.#tracks.delete(trackId);
    }
  }

  /** The lower layers of a track of this codec and size, lowest first: they come out as packets from now on. */
  choose(codec: VideoCodec, main: Size): Size[] {
    this.release();
    const fitting = [...this.#tracks.values()]
      .flatMap((track) => (track.header === undefined ? [] : [{ track, size: track.header }]))
      .filter(
        ({ track, size }) =>
          track.bitstream.codec === codec &&
          track.decision.verdict.mode !== 'transcode' &&
          area(size) < area(main),
      )
      .sort((a, b) => area(a.size) - area(b.size));
    const [lowest, highest] = [fitting[0], fitting.at(-1)];
    const chosen = fitting.length <= MAX_CHOSEN ? fitting : [lowest, highest].flatMap((side) => side ?? []);
    for (const [index, { track }] of chosen.entries()) {
      track.layer = clampLayer(index);
      track.waitsForKey = true;
    }
    this.#chosen = chosen.map(({ track }) => track);
    return chosen.map(({ size: { width, height } }) => ({ width, height }));
  }

  /** None is a layer any more. */
  release(): void {
    for (const track of this.#chosen) {
      track.layer = undefined;
    }
    this.#chosen = [];
  }

  /** Frames are missing: every track goes on with a key frame. */
  interrupted(): void {
    for (const track of this.#tracks.values()) {
      track.waitsForKey = true;
    }
  }

  #track(trackId: number, codec: VideoCodec): SideTrack | undefined {
    const known = this.#tracks.get(trackId);
    if (known?.bitstream.codec === codec || (known === undefined && this.#tracks.size >= MAX_TRACKS)) {
      return known;
    }
    const track: SideTrack = {
      bitstream: createVideoBitstream(codec),
      decision: new PassthroughDecision(this.#settings, codec),
      header: undefined,
      layer: undefined,
      waitsForKey: true,
    };
    this.#tracks.set(trackId, track);
    return track;
  }

  #take(track: SideTrack, dtsUs: number, video: FlvVideo): void {
    if (video.packet === 'config' && video.data.length > 0) {
      track.bitstream.configure(video.data);
      this.#readHeader(track);
    }
    if (video.packet !== 'frame' || video.data.length === 0) {
      return;
    }
    const picture = track.bitstream.complete(video.data, video.key);
    this.#readHeader(track);
    if (picture === undefined) {
      return;
    }
    const frame = { ...picture, dtsUs, ptsUs: dtsUs + video.compositionMs * 1000 };
    track.waitsForKey &&= !frame.key;
    const verdict = track.decision.onFrame(frame);
    if (track.layer !== undefined && !track.waitsForKey && verdict.mode !== 'transcode') {
      this.events.emit('packet', { layer: track.layer, frame });
    }
  }

  #readHeader(track: SideTrack): void {
    const { header } = track.bitstream;
    if (header !== undefined && header !== track.header) {
      track.header = header;
      track.decision.onHeader(header);
    }
  }
}

function area({ width, height }: Size): number {
  return width * height;
}
