import { randomInt } from 'node:crypto';
import type { ReceptionReport } from '../../media/rtp/rtcp.ts';
import type { SrtpSender } from '../../media/rtp/srtp-sender.ts';
import { SRTP_MAX_OVERHEAD } from '../../media/rtp/srtp-sender.ts';
import { patchVp8Descriptor } from '../../media/rtp/vp8-descriptor.ts';
import type { Forwarder, ForwarderBinding } from '../media-types.ts';
import { OutboundHeader } from './outbound-header.ts';
import { MAX_DATAGRAM_BYTES, takeSlot } from './packet-ring.ts';
import { buildSendReport } from './reports.ts';
import { Resender } from './resender.ts';
import { Rewriting } from './rewriting.ts';
import { ProtectedCopies, SentPackets } from './sent-packets.ts';
import type { PacketView, TrackPublication } from './track-publication.ts';

/** A publisher that never sends reports gets ones made from arrival times after this long. */
const REPORT_WAIT_MS = 5_000;
const FIRST_SEQUENCE_LIMIT = 0x8000;

/** The receiver's transport as the forwarder sees it. */
export type ForwarderOutlet = {
  /** Undefined until DTLS is done. */
  readonly srtpSender: SrtpSender | undefined;
  /** The receiver gets its media in bursts. */
  readonly batches: boolean;
  /** Now, or with the next burst. */
  sendMedia: (datagram: Buffer, nowMs: number) => void;
  sendUrgent: (datagram: Buffer) => void;
  /** Bound: it is handed on as a function. */
  readonly nextTransportSequence: () => number;
};

/** One subscription: rewrites a publication's packets for one receiver, and repeats them on request. */
export class TrackForwarder implements Forwarder {
  readonly ssrc: number;
  readonly rtxSsrc: number;
  readonly publication: TrackPublication;
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
    this.#flowing = false;
    this.#boundMs = performance.now();
    this.publication.attach(this);
    this.retarget();
  }

  unbind(): void {
    this.#binding = undefined;
    this.#flowing = false;
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
      this.#flowing = false;
      this.retarget();
    }
  }

  /** Chooses the layer anew and asks for its key frame when another one is being sent. */
  retarget(): void {
    if (!this.#video || !this.isSending) {
      return;
    }
    this.#target = this.publication.bestLayer(Math.min(this.#maxLayer, this.#capLayer), performance.now());
    if (this.#target >= 0 && this.currentLayer !== this.#target) {
      this.publication.requestKeyframe(this.#target);
    }
  }

  stats(): ReturnType<Forwarder['stats']> {
    return { ...this.#stats };
  }

  /** The packet path. */
  forward(view: PacketView): void {
    const { srtpSender } = this.#outlet;
    const binding = this.#binding;
    const header = this.#header;
    if (srtpSender === undefined || binding === undefined || header === undefined || this.#paused) {
      return;
    }
    const rewriting = this.#rewriting;
    const continues = this.#flowing && view.stream === rewriting.stream && !rewriting.isDiscontinuous(view);
    if (!continues && !this.#startWith(view)) {
      return;
    }
    const sequence = rewriting.nextSequence(view);
    if (sequence < 0) {
      return;
    }
    const timestamp = rewriting.timestamp(view);
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
          this.publication.requestKeyframe(role.layer);
        }
        return false;
      }
    }
    this.#rewriting.switchTo(view);
    this.#flowing = true;
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

  /** Called about once a second; returns a compound RTCP packet, or undefined when there is nothing to report. */
  takeReport(nowNtpUs: number, nowMs: number): Buffer | undefined {
    this.#resender.refill();
    this.#sentKbps = Math.round(((this.#stats.octets - this.#octetsAtRate) * 8) / 1000);
    this.#octetsAtRate = this.#stats.octets;
    if (!this.#rewriting.started || !this.isSending) {
      return undefined;
    }
    const rtpTimestamp = this.#reportTimestamp(nowNtpUs, nowMs);
    if (rtpTimestamp === undefined) {
      return undefined;
    }
    return buildSendReport({
      ssrc: this.ssrc,
      ntpUs: nowNtpUs,
      rtpTimestamp,
      packets: this.#stats.packets,
      octets: this.#stats.octets,
    });
  }

  /** The publisher's own mapping, moved by the same clock offset for all its tracks: that keeps its lip sync. */
  #reportTimestamp(nowNtpUs: number, nowMs: number): number | undefined {
    const { stream, timestampOffset, lastTimestamp, lastSentMs } = this.#rewriting;
    const { offsetUs } = this.publication.clock;
    const mapped = offsetUs === undefined ? undefined : stream?.clock.rtpAt(nowNtpUs - offsetUs);
    if (mapped !== undefined) {
      return mapped + timestampOffset;
    }
    if (nowMs - this.#boundMs < REPORT_WAIT_MS) {
      return undefined;
    }
    const elapsed = ((nowMs - lastSentMs) * this.publication.codec.clockRateHz) / 1000;
    return lastTimestamp + Math.round(elapsed);
  }
}
