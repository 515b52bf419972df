import { randomInt } from 'node:crypto';
import { SRTP_MAX_OVERHEAD } from '../../media/rtp/srtp-sender.ts';
import { patchVp8Descriptor } from '../../media/rtp/vp8-descriptor.ts';
import type { Forwarder, ForwarderBinding } from '../media-types.ts';
import type { ForwarderOutlet } from './forwarder-outlet.ts';
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

/** The stream one receiver gets of one track: numbered anew, protected, repeated on request, and reported about. */
export class OutboundStream {
  readonly rewriting: Rewriting;
  readonly stats: ReturnType<Forwarder['stats']> = {
    ...{ packets: 0, octets: 0, resent: 0 },
    ...{ nacks: 0, plis: 0, fractionLost: 0 },
  };
  readonly #ssrc: number;
  readonly #outlet: ForwarderOutlet;
  readonly #publication: TrackPublication;
  readonly #sent = new SentPackets();
  readonly #resender: Resender;
  #binding: ForwarderBinding | undefined;
  #header: OutboundHeader | undefined;
  #copies: ProtectedCopies | undefined;
  #boundMs = 0;
  #octetsAtRate = 0;
  #sentKbps = 0;

  constructor(options: {
    publication: TrackPublication;
    outlet: ForwarderOutlet;
    ssrc: number;
    rtxSsrc: number;
  }) {
    const { name, clockRateHz } = options.publication.codec;
    this.#ssrc = options.ssrc;
    this.#outlet = options.outlet;
    this.#publication = options.publication;
    this.#resender = new Resender({ ssrc: options.rtxSsrc, codec: name });
    this.rewriting = new Rewriting({ clockRateHz, firstSequence: randomInt(1, FIRST_SEQUENCE_LIMIT) });
  }

  get boundMid(): string | undefined {
    return this.#binding?.mid;
  }

  /** Over the last second. */
  get sentKbps(): number {
    return this.#sentKbps;
  }

  bind(binding: ForwarderBinding): void {
    this.#binding = binding;
    // Send times would be those of the arrival here, and bursts would look like congestion.
    const sendTimes = this.#outlet.batches ? { absSendTimeId: 0, transportCcId: 0 } : {};
    this.#header = new OutboundHeader({ ...binding, ...sendTimes });
    const keepsCopies = this.#publication.kind === 'video' && binding.rtxPayloadType === 0;
    this.#copies = keepsCopies ? new ProtectedCopies() : undefined;
    this.#boundMs = performance.now();
  }

  unbind(): void {
    this.#binding = undefined;
  }

  /** The packet path. `timestamp` is the outgoing one. The view's payload is left as it was. */
  send(view: PacketView, timestamp: number): void {
    const { srtpSender } = this.#outlet;
    const binding = this.#binding;
    const header = this.#header;
    const rewriting = this.rewriting;
    const sequence = rewriting.nextSequence(view);
    if (sequence < 0 || srtpSender === undefined || binding === undefined || header === undefined) {
      return;
    }
    const isVp8 = view.vp8.valid;
    const pictureId = isVp8 ? rewriting.pictureId(view) : 0;
    const tl0PicIdx = isVp8 ? rewriting.tl0PicIdx(view) : 0;
    rewriting.onSent(sequence, view, timestamp, pictureId, tl0PicIdx);
    this.#sent.remember(sequence, view.stream, view.sequence, timestamp, pictureId, tl0PicIdx);
    const out = takeSlot();
    const headerLength = header.write(
      out,
      binding.payloadType,
      view.marker,
      sequence & 0xffff,
      timestamp,
      this.#ssrc,
      this.#outlet.nextTransportSequence,
      view.dependencyDescriptor,
      view.nowMs,
    );
    if (headerLength + view.payload.length + SRTP_MAX_OVERHEAD > MAX_DATAGRAM_BYTES) {
      return;
    }
    if (isVp8) {
      patchVp8Descriptor(view.payload, view.vp8, pictureId, tl0PicIdx);
    }
    const rollover = Math.floor(sequence / 0x1_0000);
    const length = srtpSender.sealRtp(out, headerLength, view.payload, rollover);
    if (isVp8) {
      // Others read their numbers from it.
      patchVp8Descriptor(view.payload, view.vp8, view.vp8.pictureId, view.vp8.tl0PicIdx);
    }
    const datagram = out.subarray(0, length);
    this.#copies?.keep(sequence & 0xffff, datagram);
    this.stats.packets += 1;
    this.stats.octets += view.payload.length;
    this.#outlet.sendMedia(datagram, view.nowMs);
  }

  onNack(sequenceNumbers: readonly number[]): void {
    for (const sequenceNumber of sequenceNumbers) {
      this.stats.nacks += 1;
      if (this.#resend(sequenceNumber)) {
        this.stats.resent += 1;
      }
    }
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

  /** Called about once a second, whether anything is sent or not. */
  measure(): void {
    this.#resender.refill();
    this.#sentKbps = Math.round(((this.stats.octets - this.#octetsAtRate) * 8) / 1000);
    this.#octetsAtRate = this.stats.octets;
  }

  /** A compound RTCP packet; undefined while there is nothing to report. */
  report(nowNtpUs: number, nowMs: number): Buffer | undefined {
    if (!this.rewriting.started) {
      return undefined;
    }
    const mayGuess = nowMs - this.#boundMs >= REPORT_WAIT_MS;
    const { rewriting, stats: sent } = this;
    const sender = { ssrc: this.#ssrc, publication: this.#publication, rewriting, sent };
    return buildSendReport(sender, mayGuess, nowNtpUs, nowMs);
  }
}
