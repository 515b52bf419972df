import type { EncodedPacket, TrackFormat } from '../../model/packet.ts';
import { joinLengthPrefixed, NAL_TYPE, nalType, splitAnnexB } from '../codecs/h264.ts';
import { assertHolds } from './container-codecs.ts';
import { fileHeader, fragment, type Fmp4Sample, type Fmp4Track, type TrackRun } from './fmp4-boxes.ts';
import type { Muxer, MuxerOptions, MuxerStats } from './muxer-types.ts';
import { WriteQueue } from './write-queue.ts';

const FRAGMENT_US = 1_000_000;
/** How much media may wait for a track that was announced but has not come. */
const HEADER_WAIT_US = 2_000_000;
const VIDEO_TIMESCALE_HZ = 90_000;
/** Input clocks wobble; smaller steps are not written into the sample durations. */
const SNAP_US = 2_000;

type PendingSample = { data: Uint8Array; key: boolean; startTime: number; compositionOffset: number };
type TrackState = {
  track: Fmp4Track;
  /** Samples of the open fragment; the last one waits for its successor to know its duration. */
  pending: PendingSample[];
  lastDurationUs: number;
};

/**
 * Fragmented MP4, one fragment a second. Fragments may start between key frames (mediabunny cuts only in front of
 * one, so a WebRTC publisher that sends no key frame for an hour would fill memory and leave nothing on disk), and a
 * silent track never holds the others back, because every fragment carries what there is.
 */
export class Fmp4Muxer implements Muxer {
  readonly #options: MuxerOptions;
  readonly #queue: WriteQueue;
  readonly #formats = new Map<'video' | 'audio', TrackFormat>();
  readonly #tracks = new Map<'video' | 'audio', TrackState>();
  /** Before the header is written. */
  #waiting: EncodedPacket[] = [];
  #seenKinds = new Set<'video' | 'audio'>();
  #headerWritten = false;
  #baseUs = 0;
  #fragmentStartUs = 0;
  #sequenceNumber = 0;
  #packets = 0;
  #droppedPackets = 0;
  #endUs = 0;
  #finished: Promise<void> | undefined;

  constructor(options: MuxerOptions) {
    this.#options = options;
    this.#queue = new WriteQueue(options.sink, options.onError);
  }

  get stats(): MuxerStats {
    return {
      packets: this.#packets,
      droppedPackets: this.#droppedPackets,
      bytes: this.#queue.bytes,
      durationUs: this.#endUs,
    };
  }

  addTrack(format: TrackFormat): void {
    assertHolds(this.#options.container, format);
    this.#formats.set(format.kind, format);
  }

  write(packet: EncodedPacket): void {
    if (this.#finished !== undefined || this.#queue.failed) {
      this.#droppedPackets++;
    } else if (this.#headerWritten) {
      this.#accept(packet);
    } else if (!this.#seenKinds.has(packet.kind) && !packet.key) {
      this.#droppedPackets++; // undecodable: the key frame comes later
    } else {
      this.#seenKinds.add(packet.kind);
      this.#waiting.push(packet);
      const firstUs = this.#waiting[0]?.ptsUs ?? 0;
      const allHere = this.#options.kinds.every((kind) => this.#seenKinds.has(kind));
      if (allHere || packet.ptsUs - firstUs > HEADER_WAIT_US) {
        this.#start();
      }
    }
  }

  finish(): Promise<void> {
    this.#finished ??= this.#finish();
    return this.#finished;
  }

  #finish(): Promise<void> {
    if (!this.#headerWritten && this.#waiting.length > 0) {
      this.#start();
    }
    this.#writeFragment(true);
    return this.#queue.close();
  }

  /** Fixes the track set and writes the header; a track nobody described stays out. */
  #start(): void {
    this.#headerWritten = true;
    for (const kind of this.#options.kinds) {
      const expected = this.#options.expectedFormats?.find((format) => format.kind === kind);
      const format = this.#formats.get(kind) ?? expected;
      const track = format === undefined ? undefined : this.#createTrack(format);
      if (track === undefined) {
        this.#options.logger.warn({ kind }, 'track did not come in time and is not in the recording');
      } else {
        this.#tracks.set(kind, { track, pending: [], lastDurationUs: 0 });
      }
    }
    const waiting = this.#waiting;
    this.#waiting = [];
    if (this.#tracks.size === 0) {
      this.#droppedPackets += waiting.length;
      return;
    }
    this.#baseUs = Math.min(...waiting.map((packet) => Math.min(packet.ptsUs, packet.dtsUs)));
    this.#queue.append(fileHeader([...this.#tracks.values()].map(({ track }) => track)));
    for (const packet of waiting) {
      this.#accept(packet);
    }
  }

  #createTrack(format: TrackFormat): Fmp4Track | undefined {
    const id = this.#tracks.size + 1;
    if (format.kind === 'audio') {
      return { id, timescaleHz: format.sampleRateHz, format };
    }
    const key = this.#waiting.find((packet) => packet.kind === 'video' && packet.key);
    const units = key === undefined ? [] : splitAnnexB(key.data);
    const sps = units.find((unit) => nalType(unit) === NAL_TYPE.sps);
    const pps = units.find((unit) => nalType(unit) === NAL_TYPE.pps);
    if (format.codec === 'h264' && (sps === undefined || pps === undefined)) {
      return undefined;
    }
    return {
      id,
      timescaleHz: VIDEO_TIMESCALE_HZ,
      format,
      ...(sps !== undefined && pps !== undefined ? { parameterSets: { sps, pps } } : {}),
    };
  }

  #accept(packet: EncodedPacket): void {
    const state = this.#tracks.get(packet.kind);
    const dtsUs = packet.dtsUs - this.#baseUs;
    if (state === undefined || dtsUs < 0) {
      this.#droppedPackets++;
      return;
    }
    const { track, pending } = state;
    const previous = pending.at(-1);
    const startTime = this.#snap(state, previous, dtsUs);
    if (previous !== undefined && startTime <= previous.startTime) {
      this.#droppedPackets++;
      return;
    }
    if (dtsUs - this.#fragmentStartUs >= FRAGMENT_US) {
      this.#writeFragment(false);
      this.#fragmentStartUs = dtsUs;
    }
    pending.push({
      data: packet.kind === 'video' ? joinLengthPrefixed(splitAnnexB(packet.data)) : packet.data,
      key: packet.key,
      startTime,
      compositionOffset: Math.round(((packet.ptsUs - packet.dtsUs) * track.timescaleHz) / 1e6),
    });
    if (packet.durationUs > 0) {
      state.lastDurationUs = packet.durationUs;
    } else if (previous !== undefined) {
      state.lastDurationUs = ((startTime - previous.startTime) * 1e6) / track.timescaleHz;
    }
    this.#packets++;
    this.#endUs = Math.max(this.#endUs, packet.ptsUs - this.#baseUs + state.lastDurationUs);
  }

  /** Start time in track units; audio that is where the previous packet ends is put exactly there. */
  #snap(state: TrackState, previous: PendingSample | undefined, dtsUs: number): number {
    const { timescaleHz, format } = state.track;
    const startTime = Math.round((dtsUs * timescaleHz) / 1e6);
    if (previous === undefined || format.kind === 'video') {
      return startTime;
    }
    const expected = previous.startTime + Math.round((state.lastDurationUs * timescaleHz) / 1e6);
    return Math.abs(startTime - expected) * 1e6 <= SNAP_US * timescaleHz ? expected : startTime;
  }

  #writeFragment(isLast: boolean): void {
    const runs: TrackRun[] = [];
    for (const state of this.#tracks.values()) {
      const run = takeRun(state, isLast);
      if (run !== undefined) {
        runs.push(run);
      }
    }
    if (runs.length > 0) {
      this.#queue.append(fragment(++this.#sequenceNumber, runs));
    }
  }
}

function takeRun(state: TrackState, isLast: boolean): TrackRun | undefined {
  const { pending, track } = state;
  const ready = isLast ? pending.splice(0) : pending.splice(0, Math.max(0, pending.length - 1));
  const first = ready[0];
  if (first === undefined) {
    return undefined;
  }
  const lastDuration = Math.round((state.lastDurationUs * track.timescaleHz) / 1e6);
  const samples: Fmp4Sample[] = ready.map((sample, i) => {
    const next = ready[i + 1] ?? pending[0];
    return {
      data: sample.data,
      key: sample.key,
      duration: next === undefined ? lastDuration : next.startTime - sample.startTime,
      compositionOffset: sample.compositionOffset,
    };
  });
  return { track, decodeTime: first.startTime, samples };
}
