import { randomInt } from 'node:crypto';
import type { ReceptionReport } from '../../media/rtp/rtcp.ts';
import { SRTP_MAX_OVERHEAD } from '../../media/rtp/srtp-sender.ts';
import { patchVp8Descriptor } from '../../media/rtp/vp8-descriptor.ts';
import type { Forwarder, ForwarderBinding } from '../media-types.ts';
import { OutboundHeader } from './outbound-header.ts';
import { MAX_DATAGRAM_BYTES, takeSlot } from './packet-ring.ts';
import type { ForwarderOutlet } from './forwarder-outlet.ts';
import { findReplay, type GopReplay } from './gop-replay.ts';
import { buildSendReport } from './reports.ts';
import { Resender } from './resender.ts';
import { Rewriting } from './rewriting.ts';
import { ProtectedCopies, SentPackets } from './sent-packets.ts';
import type { PacketView, TrackPublication } from './track-publication.ts';

/** A publisher that never sends reports gets ones made from arrival times after this long. */
const REPORT_WAIT_MS = 5_000;
/** Publishers that can make a key frame when asked have this long, while something is on screen already. */
const KEYFRAME_PATIENCE_MS = 500;
/** A request that comes this soon after a key frame, live or replayed, was sent before that had arrived. */
const KEYFRAME_ANSWERS_MS = 1_000;
/** Looking for a key frame that is not there costs up to a millisecond. */
const SEARCH_INTERVAL_MS = 100;
/** A receiver that loses this much is not sent old pictures again: they would be lost too. */
const MAX_LOSS_FOR_REPLAY = 0.1;
const FIRST_SEQUENCE_LIMIT = 0x8000;

/** One subscription: rewrites a publication's packets for one receiver, and repeats them on request. */
export class TrackForwarder implements Forwarder {
  readonly ssrc: number;
  readonly rtxSsrc: number;
  readonly publication: TrackPublication;
  /** Receivers line up tracks by their reports: a stream that begins has none yet, so one is due before its turn. */
  owesReport = false;
  readonly #outlet: ForwarderOutlet;
  readonly #video: boolean;
  readonly #rewriting: Rewriting;
  readonly #sent = new SentPackets();
  readonly #resender: Resender;
  #binding: ForwarderBinding | undefined;
  #header: OutboundHeader | undefined;
  #copies: ProtectedCopies | undefined;
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
  #boundMs = 0;
  #octetsAtRate = 0;
  #sentKbps = 0;
  readonly #stats = { packets: 0, octets: 0, resent: 0, nacks: 0, plis: 0, fractionLost: 0 };

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
    this.#resender = new Resender({
      ssrc: options.rtxSsrc,
      codec: options.publication.codec.name,
    });
    this.#rewriting = new Rewriting({
      clockRateHz: options.publication.codec.clockRateHz,
      firstSequence: randomInt(1, FIRST_SEQUENCE_LIMIT),
    });
  }

  get boundMid(): string | undefined {
    return this.#binding?.mid;
  }

  get currentLayer(): number {
    const role = this.#flowing ? this.#rewriting.stream?.role : undefined;
    return role?.kind === 'media' ? role.layer : -1;
  }

  /** The highest layer the subscriber wants, before congestion is considered. */
  get maxLayer(): number {
    return this.#maxLayer;
  }

  get sentKbps(): number {
    return this.#sentKbps;
  }

  /** 0 … 1, of the receiver's latest report. */
  get fractionLost(): number {
    return this.#stats.fractionLost;
  }

  get isSending(): boolean {
    return this.#binding !== undefined && !this.#paused;
  }

  bind(binding: ForwarderBinding): void {
    this.#binding = binding;
    // Send times would be those of the arrival here, and bursts would look like congestion.
    const sendTimes = this.#outlet.batches ? { absSendTimeId: 0, transportCcId: 0 } : {};
    this.#header = new OutboundHeader({ ...binding, ...sendTimes });
    this.#copies = this.#video && binding.rtxPayloadType === 0 ? new ProtectedCopies() : undefined;
    this.#stopFlow();
    this.#boundMs = performance.now();
    this.publication.attach(this);
    this.retarget();
  }

  unbind(): void {
    this.#binding = undefined;
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
    this.#rewriting.switchTo(replay.first, replay.liveTimestamp);
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
    const { started, lastTimestamp, timestampOffset } = this.#rewriting;
    const before = started ? lastTimestamp : undefined;
    const isDone = replay.run(nowMs, timestampOffset, before, (view, timestamp) => {
      this.#send(view, timestamp);
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
    return { ...this.#stats };
  }

  /** The packet path. */
  forward(view: PacketView): void {
    if (this.#outlet.srtpSender === undefined || this.#binding === undefined || this.#paused) {
      return;
    }
    const rewriting = this.#rewriting;
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
    this.#send(view, rewriting.timestamp(view));
  }

  #send(view: PacketView, timestamp: number): void {
    const { srtpSender } = this.#outlet;
    const binding = this.#binding;
    const header = this.#header;
    const rewriting = this.#rewriting;
    const sequence = rewriting.nextSequence(view);
    if (sequence < 0 || srtpSender === undefined || binding === undefined || header === undefined) {
      return;
    }
    let pictureId = 0;
    let tl0PicIdx = 0;
    if (view.vp8.valid) {
      pictureId = rewriting.pictureId(view);
      tl0PicIdx = rewriting.tl0PicIdx(view);
      patchVp8Descriptor(view.payload, view.vp8, pictureId, tl0PicIdx);
    }
    rewriting.onSent(sequence, view, timestamp, pictureId, tl0PicIdx);
    this.#sent.remember(sequence, view.stream, view.sequence, timestamp, pictureId, tl0PicIdx);
    const out = takeSlot();
    const headerLength = header.write(
      out,
      binding.payloadType,
      view.marker,
      sequence & 0xffff,
      timestamp,
      this.ssrc,
      this.#outlet.nextTransportSequence,
      view.dependencyDescriptor,
      view.nowMs,
    );
    if (headerLength + view.payload.length + SRTP_MAX_OVERHEAD > MAX_DATAGRAM_BYTES) {
      return;
    }
    const rollover = Math.floor(sequence / 0x1_0000);
    const length = srtpSender.sealRtp(out, headerLength, view.payload, rollover);
    if (view.vp8.valid) {
      // The payload is kept for repeats, and others read their numbers from it.
      patchVp8Descriptor(view.payload, view.vp8, view.vp8.pictureId, view.vp8.tl0PicIdx);
    }
    const datagram = out.subarray(0, length);
    this.#copies?.keep(sequence & 0xffff, datagram);
    this.#stats.packets += 1;
    this.#stats.octets += view.payload.length;
    this.#outlet.sendMedia(datagram, view.nowMs);
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
    this.#rewriting.switchTo(view);
    this.#flowing = true;
    this.owesReport = true;
    this.#outlet.hurry();
    if (role.layer !== this.#target) {
      this.publication.requestKeyframe(this.#target);
    }
    return true;
  }

  onNack(sequenceNumbers: readonly number[]): void {
    for (const sequenceNumber of sequenceNumbers) {
      this.#stats.nacks += 1;
      if (this.#resend(sequenceNumber)) {
        this.#stats.resent += 1;
      }
    }
  }

  onKeyframeRequest(): void {
    this.#stats.plis += 1;
    const layer = this.currentLayer;
    this.publication.requestKeyframe(layer >= 0 ? layer : this.#target);
    const nowMs = performance.now();
    const isAnswered = nowMs - this.#keySentMs < KEYFRAME_ANSWERS_MS;
    if (!isAnswered && this.#replay === undefined && this.#stats.fractionLost <= MAX_LOSS_FOR_REPLAY) {
      this.#waitsSinceMs = Math.min(this.#waitsSinceMs, nowMs);
    }
  }

  onReceptionReport(report: ReceptionReport): void {
    this.#stats.fractionLost = report.fractionLost / 256;
  }

  #resend(sequenceNumber: number): boolean {
    const { srtpSender, nextTransportSequence } = this.#outlet;
    const binding = this.#binding;
    const header = this.#header;
    if (srtpSender === undefined || binding === undefined || header === undefined) {
      return false;
    }
    if (!this.#resender.takeBudget()) {
      return false;
    }
    const datagram =
      this.#copies === undefined
        ? this.#resender.repeat(
            sequenceNumber,
            this.#sent,
            header,
            binding.rtxPayloadType,
            nextTransportSequence,
            srtpSender,
          )
        : this.#copies.find(sequenceNumber);
    if (datagram === undefined) {
      return false;
    }
    this.#outlet.sendUrgent(datagram);
    return true;
  }

  /** Called about once a second. */
  measure(): void {
    this.#resender.refill();
    this.#sentKbps = Math.round(((this.#stats.octets - this.#octetsAtRate) * 8) / 1000);
    this.#octetsAtRate = this.#stats.octets;
  }

  /** A compound RTCP packet, or undefined when there is nothing to report. */
  takeReport(nowNtpUs: number, nowMs: number): Buffer | undefined {
    if (!this.#rewriting.started || !this.isSending) {
      return undefined;
    }
    const mayGuess = nowMs - this.#boundMs >= REPORT_WAIT_MS;
    const { ssrc, publication } = this;
    const sender = { ssrc, publication, rewriting: this.#rewriting, sent: this.#stats };
    const report = buildSendReport(sender, mayGuess, nowNtpUs, nowMs);
    this.owesReport &&= report === undefined;
    return report;
  }
}
