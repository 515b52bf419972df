import type { AmfObject } from '../protocol/amf0.ts';
import { parseRtmpAudio, parseRtmpVideo } from '../protocol/flv-enhanced.ts';
import type { MediaSink } from './servers/publisher-types.ts';

/** More than a group of pictures of 10 s at 60 fps; a longer one is not kept, the next key frame is waited for. */
const MAX_FRAMES = 900;
const MAX_BYTES = 16_000_000;

/** `arrivalUs` on this machine's monotonic clock. */
export type StandbyMessage = { timestampMs: number; body: Buffer; arrivalUs: number };

/**
 * What it takes to go on from an encoder at any moment: its parameter sets, and its picture since the last key frame.
 * Sound needs no past.
 */
export class StandbyBuffer {
  #metadata: AmfObject | undefined;
  /** Sequence headers by the tracks they are for; copies, as whoever takes a body owns it. */
  readonly #videoConfigs = new Map<string, Buffer>();
  readonly #audioConfigs = new Map<string, Buffer>();
  #latest: StandbyMessage | undefined;
  #pictures: StandbyMessage[] = [];
  #bytes = 0;
  #hasVideo = false;
  #hasAudio = false;

  /** Whether somebody who sees only what comes from here sees a picture at once; sound alone will do when that is all. */
  get canStart(): boolean {
    return this.#pictures.length > 0 || (this.#hasAudio && !this.#hasVideo);
  }

  metadata(values: AmfObject): void {
    this.#metadata = values;
  }

  /** @param keep false: only sequence headers are. @throws ServiceError unimplemented, malformed. */
  video(message: StandbyMessage, keep: boolean): void {
    const parts = parseRtmpVideo(message.body);
    this.#latest = message;
    this.#hasVideo ||= parts.length > 0;
    if (parts.some(({ video }) => video.packet === 'config')) {
      this.#videoConfigs.set(parts.map(({ trackId }) => trackId).join(), Buffer.from(message.body));
      return;
    }
    if (!keep) {
      return;
    }
    const isKey = parts.some(({ video }) => video.packet === 'frame' && video.key);
    const isFull = this.#pictures.length >= MAX_FRAMES || this.#bytes > MAX_BYTES;
    if (isKey || isFull) {
      this.#forgetPictures();
    }
    if (isKey || this.#pictures.length > 0) {
      this.#pictures.push(message);
      this.#bytes += message.body.length;
    }
  }

  /** @throws ServiceError unimplemented, malformed. */
  audio(message: StandbyMessage): void {
    const parts = parseRtmpAudio(message.body);
    this.#latest = message;
    this.#hasAudio ||= parts.length > 0;
    if (parts.some(({ audio }) => audio.packet === 'config')) {
      this.#audioConfigs.set(parts.map(({ trackId }) => trackId).join(), Buffer.from(message.body));
    }
  }

  /** Plays everything to the sink, with the arrivals a connection without jitter would have given; keeps the headers. */
  drainTo(sink: MediaSink): void {
    const pictures = this.#pictures;
    const first = pictures[0] ?? this.#latest;
    this.#forgetPictures();
    if (this.#metadata !== undefined) {
      sink.metadata(this.#metadata);
    }
    if (first === undefined) {
      return;
    }
    const startUs = pictures.reduce(
      (least, one) => Math.min(least, one.arrivalUs - sinceUs(first, one)),
      first.arrivalUs,
    );
    for (const body of this.#videoConfigs.values()) {
      sink.video(first.timestampMs, Buffer.from(body), startUs);
    }
    for (const body of this.#audioConfigs.values()) {
      sink.audio(first.timestampMs, Buffer.from(body), startUs);
    }
    for (const one of pictures) {
      sink.video(one.timestampMs, one.body, startUs + sinceUs(first, one));
    }
  }

  #forgetPictures(): void {
    this.#pictures = [];
    this.#bytes = 0;
  }
}

function sinceUs(first: StandbyMessage, later: StandbyMessage): number {
  return ((later.timestampMs - first.timestampMs) | 0) * 1000;
}
