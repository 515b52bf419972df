import { InputAudioState, InputVideoState } from '@livekit/protocol';
import { clampLayer } from '../../model/track.ts';
import type { LayerFacts } from '../media-types.ts';
import type { ParticipantSession } from '../participant-session.ts';
import type { PublishedTrack } from '../published-track.ts';

/** What an ingress is told about the session it started. */
export type WhipReport = {
  participantId: string;
  roomId: string;
  closed: boolean;
  publishing: boolean;
  silent: boolean;
  error: string;
  video?: InputVideoState;
  audio?: InputAudioState;
};

const LOOK_INTERVAL_MS = 1_000;
/** The first picture and sound are reported as soon as they are there. */
const FIRST_LOOK_MS = 100;
const REPORT_INTERVAL_MS = 4_000;
/** Rates need two looks, so the second report follows soon. */
const FIRST_REPORT_INTERVAL_MS = 1_000;
/** No packet of any track: the encoder is gone or stuck. Opus without DTX and any camera send much more often. */
const SILENCE_MS = 2_000;
/** WHIP's Opus is always `opus/48000/2` (RFC 7587 section 7). */
const OPUS = { sampleRate: 48_000, channels: 2 };

/** Looks at what an encoder sends, keeps the sizes in its TrackInfo right, and reports. */
export class WhipMonitor {
  readonly #participant: ParticipantSession;
  readonly #onReport: (report: WhipReport) => void;
  #timer: NodeJS.Timeout | undefined;
  #reports = 0;
  #reportedMs = Number.NEGATIVE_INFINITY;
  #reportedBytes = new Map<string, number>();
  /** By track id: simulcast layers whose size the room has been shown. */
  readonly #layerCounts = new Map<string, number>();
  #last: WhipReport;
  #ended = false;

  constructor(participant: ParticipantSession, onReport: (report: WhipReport) => void) {
    this.#participant = participant;
    this.#onReport = onReport;
    this.#last = {
      participantId: participant.sid,
      roomId: participant.room.sid,
      closed: false,
      publishing: false,
      silent: false,
      error: '',
    };
  }

  /** The transport is connected. */
  start(): void {
    if (this.#timer === undefined && !this.#ended) {
      this.#schedule();
    }
  }

  /** @param error why, '' when the encoder ended by itself. */
  end(error: string): void {
    clearTimeout(this.#timer);
    this.#ended = true;
    this.#onReport({ ...this.#last, closed: true, error });
  }

  #schedule(): void {
    const delayMs = this.#last.publishing ? LOOK_INTERVAL_MS : FIRST_LOOK_MS;
    this.#timer = setTimeout(() => {
      this.#look(performance.now());
      this.#schedule();
    }, delayMs).unref();
  }

  #look(nowMs: number): void {
    const tracks = this.#participant.publishing.tracks();
    const facts = new Map(tracks.map((track) => [track, track.media?.publication.inspect() ?? []]));
    const lastPacketMs = Math.max(...[...facts.values()].flat().map((layer) => layer.lastPacketMs));
    const publishing = lastPacketMs > Number.NEGATIVE_INFINITY;
    const silent = publishing && nowMs - lastPacketMs > SILENCE_MS;
    const sized = this.#updateSizes(facts);
    const changed = publishing !== this.#last.publishing || silent !== this.#last.silent || sized;
    const intervalMs = this.#reports < 2 ? FIRST_REPORT_INTERVAL_MS : REPORT_INTERVAL_MS;
    if (publishing && (changed || nowMs - this.#reportedMs >= intervalMs)) {
      this.#report(facts, { publishing, silent }, nowMs);
    }
  }

  /** True when the size of a track became known or changed; the room is then shown it. */
  #updateSizes(facts: ReadonlyMap<PublishedTrack, LayerFacts[]>): boolean {
    let changed = false;
    const layerCounts = this.#layerCounts;
    for (const [track, layers] of facts) {
      const { info } = track;
      const known = layers.filter(({ width }) => width > 0).sort((a, b) => a.layer - b.layer);
      const top = known.at(-1);
      if (top !== undefined && (top.width !== info.width || top.height !== info.height)) {
        info.width = top.width;
        info.height = top.height;
        changed = true;
      }
      if (layers.length > 1 && known.length !== layerCounts.get(info.sid)) {
        layerCounts.set(info.sid, known.length);
        track.layersMeasured(known.map((size) => ({ ...size, layer: clampLayer(size.layer) })));
        changed = true;
      }
    }
    if (changed) {
      this.#participant.room.participantChanged(this.#participant, { skipSelf: true });
    }
    return changed;
  }

  #report(
    facts: ReadonlyMap<PublishedTrack, LayerFacts[]>,
    flags: { publishing: boolean; silent: boolean },
    nowMs: number,
  ): void {
    const elapsedMs = nowMs - this.#reportedMs;
    this.#last = { ...this.#last, ...flags };
    for (const [track, layers] of facts) {
      const bytes = layers.reduce((sum, layer) => sum + layer.bytes, 0);
      const before = this.#reportedBytes.get(track.sid);
      this.#reportedBytes.set(track.sid, bytes);
      // The first report has nothing to compare with.
      const averageBitrate = before === undefined ? 0 : Math.round(((bytes - before) * 8000) / elapsedMs);
      const { mimeType, width, height } = track.info;
      if (track.kind === 'audio') {
        this.#last.audio = new InputAudioState({ mimeType, averageBitrate, ...OPUS });
      } else {
        const framerate = Math.max(0, ...layers.map(({ framesPerSecond }) => framesPerSecond));
        this.#last.video = new InputVideoState({ mimeType, averageBitrate, width, height, framerate });
      }
    }
    this.#reportedMs = nowMs;
    this.#reports += 1;
    this.#onReport({ ...this.#last });
  }
}
