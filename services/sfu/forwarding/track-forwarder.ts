import type { ReceptionReport } from '../../media/rtp/rtcp.ts';
import type { Forwarder, ForwarderBinding } from '../media-types.ts';
import type { ForwarderOutlet } from './forwarder-outlet.ts';
import { findReplay, type GopReplay } from './gop-replay.ts';
import { OutboundStream } from './outbound-stream.ts';
import type { PacketView, TrackPublication } from './track-publication.ts';

/** Publishers that can make a key frame when asked have this long, while something is on screen already. */
const KEYFRAME_PATIENCE_MS = 500;
/** A request that comes this soon after a key frame, live or replayed, was sent before that had arrived. */
const KEYFRAME_ANSWERS_MS = 1_000;
/** Looking for a key frame that is not there costs up to a millisecond. */
const SEARCH_INTERVAL_MS = 100;
/** A receiver that loses this much is not sent old pictures again: they would be lost too. */
const MAX_LOSS_FOR_REPLAY = 0.1;

/** One subscription: chooses which layer of a publication its receiver gets, and where it begins. */
export class TrackForwarder implements Forwarder {
  readonly ssrc: number;
  readonly rtxSsrc: number;
  readonly publication: TrackPublication;
  /** Receivers line up tracks by their reports: a stream that begins has none yet, so one is due before its turn. */
  owesReport = false;
  readonly #outlet: ForwarderOutlet;
  readonly #video: boolean;
  readonly #out: OutboundStream;
  /** True while the mapped stream may be sent; false before a key frame. */
  #flowing = false;
  #paused = false;
  #maxLayer = Number.POSITIVE_INFINITY;
  #capLayer = Number.POSITIVE_INFINITY;
  #target = -1;
  /** When the layer to be sent was chosen, or its key frame asked for by the receiver; Infinity = it has it. */
  #waitsSinceMs = Number.POSITIVE_INFINITY;
  #replay: GopReplay | undefined;
  #keySentMs = Number.NEGATIVE_INFINITY;
  #searchedMs = Number.NEGATIVE_INFINITY;

  constructor(options: {
    publication: TrackPublication;
    outlet: ForwarderOutlet;
    ssrc: number;
    rtxSsrc: number;
  }) {
    this.publication = options.publication;
    this.#outlet = options.outlet;
    this.ssrc = options.ssrc;
    this.rtxSsrc = options.rtxSsrc;
    this.#video = options.publication.kind === 'video';
    this.#out = new OutboundStream(options);
  }

  get boundMid(): string | undefined {
    return this.#out.boundMid;
  }

  get currentLayer(): number {
    const role = this.#flowing ? this.#out.rewriting.stream?.role : undefined;
    return role?.kind === 'media' ? role.layer : -1;
  }

  /** The highest layer the subscriber wants, before congestion is considered. */
  get maxLayer(): number {
    return this.#maxLayer;
  }

  get sentKbps(): number {
    return this.#out.sentKbps;
  }

  /** 0 … 1, of the receiver's latest report. */
  get fractionLost(): number {
    return this.#out.stats.fractionLost;
  }

  get isSending(): boolean {
    return this.#out.boundMid !== undefined && !this.#paused;
  }

  bind(binding: ForwarderBinding): void {
    this.#out.bind(binding);
    this.#stopFlow();
    this.publication.attach(this);
    this.retarget();
  }

  unbind(): void {
    this.#out.unbind();
    this.#stopFlow();
    this.publication.detach(this);
  }

  setMaxLayer(layer: number): void {
    if (this.#maxLayer !== layer) {
      this.#maxLayer = layer;
      this.retarget();
    }
  }

  /** Set by congestion control. */
  setCapLayer(layer: number): void {
    if (this.#capLayer !== layer) {
      this.#capLayer = layer;
      this.retarget();
    }
  }

  setPaused(paused: boolean): void {
    if (this.#paused !== paused) {
      this.#paused = paused;
      this.#stopFlow();
      this.retarget();
    }
  }

  /** Chooses the layer anew and asks for its key frame when another one is being sent. */
  retarget(): void {
    if (!this.#video || !this.isSending) {
      return;
    }
    const nowMs = performance.now();
    const target = this.publication.bestLayer(Math.min(this.#maxLayer, this.#capLayer), nowMs);
    if (target !== this.#target) {
      this.#target = target;
      this.#waitsSinceMs = this.currentLayer === target ? Number.POSITIVE_INFINITY : nowMs;
    }
    if (target >= 0 && this.currentLayer !== target) {
      this.#askForKeyframe(nowMs);
    } else if (nowMs - this.#waitsSinceMs >= KEYFRAME_PATIENCE_MS) {
      this.#startReplay(nowMs);
    }
  }

  /** Of the wanted layer. */
  #askForKeyframe(nowMs: number): void {
    this.publication.requestKeyframe(this.#target);
    if (!this.#flowing || nowMs - this.#waitsSinceMs >= KEYFRAME_PATIENCE_MS) {
      this.#startReplay(nowMs);
    }
  }

  /** Begins with the last key frame when the publication keeps it. A recorder waits: it wants pictures at their time. */
  #startReplay(nowMs: number): void {
    const isReady = this.#outlet.srtpSender !== undefined && this.isSending && !this.#outlet.batches;
    if (!isReady || this.#replay !== undefined || nowMs - this.#searchedMs < SEARCH_INTERVAL_MS) {
      return;
    }
    this.#searchedMs = nowMs;
    const replay = findReplay(this.publication, this.#target);
    if (replay === undefined) {
      return;
    }
    replay.first.nowMs = nowMs;
    this.#out.rewriting.switchTo(replay.first, replay.liveTimestamp);
    this.#replay = replay;
    this.#keySentMs = nowMs;
    this.#flowing = true;
    this.owesReport = true;
    this.#waitsSinceMs = Number.POSITIVE_INFINITY;
    this.replay(nowMs);
    this.#outlet.hurry();
  }

  /** Called every tick: sends the next burst of old packets. True while there are more. */
  replay(nowMs: number): boolean {
    const replay = this.#replay;
    if (replay === undefined) {
      return false;
    }
    if (replay.stream !== this.publication.streamOf(this.#target)) {
      this.#stopFlow();
      return false;
    }
    const { started, lastTimestamp, timestampOffset } = this.#out.rewriting;
    const before = started ? lastTimestamp : undefined;
    const isDone = replay.run(nowMs, timestampOffset, before, (view, timestamp) => {
      this.#out.send(view, timestamp);
    });
    if (isDone) {
      this.#replay = undefined;
    }
    return !isDone;
  }

  #stopFlow(): void {
    this.#flowing = false;
    this.owesReport = false;
    this.#replay = undefined;
    this.#waitsSinceMs = Number.POSITIVE_INFINITY;
  }

  stats(): ReturnType<Forwarder['stats']> {
    return { ...this.#out.stats };
  }

  /** The packet path. */
  forward(view: PacketView): void {
    if (this.#outlet.srtpSender === undefined || !this.isSending) {
      return;
    }
    const { rewriting } = this.#out;
    const own = this.#flowing && view.stream === rewriting.stream;
    if (own && this.#replay !== undefined && !view.key) {
      return; // its turn comes in the replay
    }
    const continues = own && this.#replay === undefined && !rewriting.isDiscontinuous(view);
    if (!continues && !this.#startWith(view)) {
      return;
    }
    if (view.key) {
      this.#waitsSinceMs = Number.POSITIVE_INFINITY;
      this.#keySentMs = view.nowMs;
    }
    this.#out.send(view, rewriting.timestamp(view));
  }

  /** Switches to the view's stream when that is wanted and possible. */
  #startWith(view: PacketView): boolean {
    const { role } = view.stream;
    if (role.kind !== 'media' || this.publication.streamOf(role.layer) !== view.stream) {
      return false;
    }
    if (this.#video) {
      if (this.#target < 0) {
        this.retarget();
      }
      // Before anything is on screen any layer up to the wanted one is better than waiting.
      const wanted = role.layer === this.#target || (!this.#flowing && role.layer < this.#target);
      if (!wanted || !view.key) {
        if (role.layer === this.#target) {
          this.#askForKeyframe(view.nowMs);
        }
        return false;
      }
    }
    this.#replay = undefined;
    this.#out.rewriting.switchTo(view);
    this.#flowing = true;
    this.owesReport = true;
    this.#outlet.hurry();
    if (role.layer !== this.#target) {
      this.publication.requestKeyframe(this.#target);
    }
    return true;
  }

  onNack(sequenceNumbers: readonly number[]): void {
    this.#out.onNack(sequenceNumbers);
  }

  onKeyframeRequest(): void {
    this.#out.stats.plis += 1;
    const layer = this.currentLayer;
    this.publication.requestKeyframe(layer >= 0 ? layer : this.#target);
    const nowMs = performance.now();
    const isAnswered = nowMs - this.#keySentMs < KEYFRAME_ANSWERS_MS;
    if (!isAnswered && this.#replay === undefined && this.fractionLost <= MAX_LOSS_FOR_REPLAY) {
      this.#waitsSinceMs = Math.min(this.#waitsSinceMs, nowMs);
    }
  }

  onReceptionReport(report: ReceptionReport): void {
    this.#out.stats.fractionLost = report.fractionLost / 256;
  }

  /** Called about once a second. */
  measure(): void {
    this.#out.measure();
  }

  /** A compound RTCP packet, or undefined when there is nothing to report. */
  takeReport(nowNtpUs: number, nowMs: number): Buffer | undefined {
    if (!this.isSending) {
      return undefined;
    }
    const report = this.#out.report(nowNtpUs, nowMs);
    this.owesReport &&= report === undefined;
    return report;
  }
}
