import { createDepacketizer } from '../media/packetize/depacketizer.ts';
import { FrameAssembler, type ReceivedFrame } from '../media/packetize/frame-assembler.ts';
import { ReorderBuffer } from '../media/packetize/reorder-buffer.ts';
import { readU16 } from '../media/rtp/bytes.ts';
import { compactNtp, ntpToUs } from '../media/rtp/ntp.ts';
import { buildNack, buildPli } from '../media/rtp/rtcp-build.ts';
import type { ReceptionReport, SenderReport } from '../media/rtp/rtcp.ts';
import { rtpMarker, rtpSequenceNumber, rtpTimestamp, unpaddedLength } from '../media/rtp/rtp-header.ts';
import { monotonicUs } from '../base/clock.ts';
import type { PublisherClock } from '../media/timing/publisher-clock.ts';
import { RtpTimeline } from '../media/timing/rtp-timeline.ts';
import type { AudioCodec, VideoCodec } from '../model/packet.ts';
import { ReceptionStats } from './reception-stats.ts';

export type ReceiveStreamOptions = {
  kind: 'video' | 'audio';
  codec: VideoCodec | AudioCodec;
  ssrc: number;
  clockRateHz: number;
  /** The answer allows NACK. */
  nack: boolean;
  /** Packets come in bursts this far apart, so one that overtook another may be this much ahead of it. */
  mediaBatchMs: number;
  /** SSRC of our own reports. */
  localSsrc: number;
  clock: PublisherClock;
  roundTripMs: () => number;
  sendRtcp: (packet: Buffer) => void;
  onFrame: (frame: ReceivedFrame & { ptsUs: number }) => void;
  onLost: (packets: number) => void;
  /** Ends with these bytes: made by the server, not by the publisher (JoinResponse.sif_trailer). Empty = none. */
  serverFrameTrailer: Uint8Array;
};

/** Without NACK there is only reordering to wait for. */
const WAIT_US = { nack: 1_000_000, reorder: 100_000 } as const;
const MAX_HELD_PACKETS = 4096;
const NACK_INTERVAL_MS = 40;
const TICK_MS = 15;
const PLI_INTERVAL_US = 500_000;
/**
 * Frames of a new stream wait this long for the first sender report, so that tracks are together from their first frame
 * on. Our server sends it at once, LiveKit's every few seconds; recordings put black and silence where nothing came for
 * 2 s, bursts included.
 */
const REPORT_WAIT_MS = 1_500;

/** One incoming RTP stream from packet to frame, with the feedback that keeps it complete. */
export class ReceiveStream {
  readonly stats: ReceptionStats;
  readonly #options: ReceiveStreamOptions;
  readonly #buffer: ReorderBuffer;
  readonly #assembler: FrameAssembler;
  readonly #timeline: RtpTimeline;
  readonly #rtxStats: ReceptionStats;
  /** Frames that wait for the first report; undefined once it has come, or was waited for in vain. */
  #held: ReceivedFrame[] | undefined = [];
  #holdTimer: NodeJS.Timeout | undefined;
  #ssrc: number;
  #rtxSsrc = 0;
  #lastPliUs = Number.NEGATIVE_INFINITY;
  #keyframeWanted = false;
  #timer: NodeJS.Timeout | undefined;
  #lastReport: { compact: number; arrivalUs: number } | undefined;

  constructor(options: ReceiveStreamOptions) {
    this.#options = options;
    this.#ssrc = options.ssrc;
    this.stats = new ReceptionStats(options.clockRateHz);
    this.#rtxStats = new ReceptionStats(options.clockRateHz);
    this.#timeline = new RtpTimeline({
      clockRateHz: options.clockRateHz,
      clock: options.clock,
      inBursts: options.mediaBatchMs > 0,
    });
    const depacketizer = createDepacketizer(options.codec);
    this.#assembler = new FrameAssembler({
      depacketizer,
      onFrame: (frame) => {
        this.#keyframeWanted = false;
        this.#onFrame(frame);
      },
      onKeyframeNeeded: () => {
        if (options.kind === 'video') {
          this.requestKeyframe();
        }
      },
    });
    this.#buffer = new ReorderBuffer({
      maxWaitUs: (options.nack ? WAIT_US.nack : WAIT_US.reorder) + options.mediaBatchMs * 1000,
      maxPackets: MAX_HELD_PACKETS,
      isStreamStart: (payload) => depacketizer.isFrameStart(payload),
      onPacket: (packet) => this.#assembler.push(packet),
      onLost: (count) => {
        options.onLost(count);
        this.#assembler.lost();
      },
    });
  }

  get ssrc(): number {
    return this.#ssrc;
  }

  /** Learnt from a packet when the answer announced none. */
  setSsrc(ssrc: number): void {
    this.#ssrc = ssrc;
  }

  /** A packet on the media SSRC. */
  onPacket(packet: Buffer, payload: Buffer, arrivalUs: number): void {
    const length = unpaddedLength(packet, payload);
    if (length < 0) {
      return;
    }
    const sequenceNumber = rtpSequenceNumber(packet);
    const timestamp = rtpTimestamp(packet);
    this.stats.onPacket(sequenceNumber, timestamp, arrivalUs);
    const unpadded = length === payload.length ? payload : payload.subarray(0, length);
    this.#insert(sequenceNumber, timestamp, rtpMarker(packet), unpadded, arrivalUs);
  }

  /** A packet on the RTX SSRC (RFC 4588). */
  onRtxPacket(packet: Buffer, payload: Buffer, arrivalUs: number): void {
    const length = unpaddedLength(packet, payload);
    this.#rtxStats.onPacket(rtpSequenceNumber(packet), rtpTimestamp(packet), arrivalUs);
    if (length <= 2) {
      // Probing padding has no original sequence number.
      return;
    }
    const original = readU16(payload, 0);
    this.#insert(original, rtpTimestamp(packet), rtpMarker(packet), payload.subarray(2, length), arrivalUs);
  }

  setRtxSsrc(ssrc: number): void {
    this.#rtxSsrc = ssrc;
  }

  onSenderReport(report: SenderReport, arrivalUs: number): void {
    this.#lastReport = { compact: compactNtp(report.ntpSeconds, report.ntpFraction), arrivalUs };
    if (report.ntpSeconds !== 0 || report.ntpFraction !== 0) {
      this.#timeline.onReport({
        timestamp: report.rtpTimestamp,
        ntpUs: ntpToUs(report.ntpSeconds, report.ntpFraction),
        arrivalUs,
      });
      this.#release();
    }
  }

  receptionReports(nowUs: number): ReceptionReport[] {
    const reports: ReceptionReport[] = [];
    const media = this.stats.report(this.#ssrc, nowUs, this.#lastReport);
    if (media !== undefined) {
      reports.push(media);
    }
    const rtx = this.#rtxSsrc === 0 ? undefined : this.#rtxStats.report(this.#rtxSsrc, nowUs, undefined);
    if (rtx !== undefined) {
      reports.push(rtx);
    }
    return reports;
  }

  /** At most one PLI per 500 ms; while a key frame is due, one goes out every time that has passed. */
  requestKeyframe(): void {
    this.#keyframeWanted = true;
    this.#sendPli(monotonicUs());
  }

  /** Frames begin with the next key frame (again). */
  waitForKey(): void {
    if (this.#options.kind === 'video') {
      this.#assembler.waitForKey();
    }
  }

  /** Periodic work, about once a second. */
  tick(nowUs: number): void {
    if (this.#keyframeWanted) {
      this.#sendPli(nowUs);
    }
  }

  close(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#holdTimer);
    this.#timer = undefined;
    this.#held = undefined;
    this.#keyframeWanted = false;
  }

  #onFrame(frame: ReceivedFrame): void {
    if (this.#held === undefined) {
      this.#deliver(frame);
    } else if (this.#timeline.isReported) {
      this.#release();
      this.#deliver(frame);
    } else {
      this.#held.push(frame);
      this.#holdTimer ??= setTimeout(() => this.#release(), REPORT_WAIT_MS);
    }
  }

  #release(): void {
    clearTimeout(this.#holdTimer);
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const frame of held) {
      this.#deliver(frame);
    }
  }

  #deliver(frame: ReceivedFrame): void {
    this.#options.onFrame({ ...frame, ptsUs: this.#timeline.ptsUs(frame.timestamp, frame.arrivalUs) });
  }

  #insert(
    sequenceNumber: number,
    timestamp: number,
    marker: boolean,
    payload: Uint8Array,
    arrivalUs: number,
  ): void {
    const padded = endsWith(payload, this.#options.serverFrameTrailer) ? payload.subarray(0, 0) : payload;
    this.#buffer.push(sequenceNumber, { timestamp, marker, payload: padded, arrivalUs });
    if (this.#buffer.missingCount > 0) {
      this.#timer ??= setTimeout(() => this.#repair(), TICK_MS);
    }
  }

  #repair(): void {
    this.#timer = undefined;
    const nowUs = monotonicUs();
    this.#buffer.expire(nowUs);
    if (this.#options.nack) {
      const intervalUs = (NACK_INTERVAL_MS + this.#options.roundTripMs()) * 1000;
      const wanted = this.#buffer.takeRequests(nowUs, intervalUs);
      if (wanted.length > 0) {
        this.#options.sendRtcp(buildNack(this.#options.localSsrc, this.#ssrc, wanted));
      }
    }
    if (this.#buffer.missingCount > 0) {
      this.#timer = setTimeout(() => this.#repair(), TICK_MS);
    }
  }

  #sendPli(nowUs: number): void {
    if (nowUs - this.#lastPliUs >= PLI_INTERVAL_US) {
      this.#lastPliUs = nowUs;
      this.#options.sendRtcp(buildPli(this.#options.localSsrc, this.#ssrc));
    }
  }
}

function endsWith(payload: Uint8Array, trailer: Uint8Array): boolean {
  const start = payload.length - trailer.length;
  if (trailer.length === 0 || start < 0) {
    return false;
  }
  for (let index = 0; index < trailer.length; index += 1) {
    if (payload[start + index] !== trailer[index]) {
      return false;
    }
  }
  return true;
}
