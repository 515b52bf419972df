import { readU16 } from '../../media/rtp/bytes.ts';
import {
  extensionLength,
  extensionOffset,
  findExtension,
  rtpMarker,
  rtpSequenceNumber,
  rtpSsrc,
  rtpTimestamp,
  unpaddedLength,
} from '../../media/rtp/rtp-header.ts';
import type { HeaderExtensionIds } from '../media-types.ts';
import { ArrivalRecorder } from './arrival-recorder.ts';
import type { InboundStream } from './inbound-stream.ts';
import { StreamDemux } from './stream-demux.ts';

/** What one client publishes: places each decrypted packet in its stream, undoes RTX, and hands it to the publication. */
export class InboundMedia {
  readonly demux: StreamDemux;
  readonly arrivals = new ArrivalRecorder();
  readonly #extensions: HeaderExtensionIds;
  /** Packets come in runs of one SSRC. */
  #lastStream: InboundStream | undefined;

  constructor(extensions: HeaderExtensionIds) {
    this.#extensions = extensions;
    this.demux = new StreamDemux(extensions);
  }

  /** True when the packet just received wants an answer with the next tick: feedback, or a request for what is missing. */
  get awaitsTick(): boolean {
    return this.arrivals.hasPending || (this.#lastStream?.nack?.missingCount ?? 0) > 0;
  }

  removePublication(mid: string): void {
    this.demux.removePublication(mid);
    this.#lastStream = undefined;
  }

  /** The packet path of what came over the network. `padded` is the decrypted payload with its RTP padding. */
  receive(packet: Buffer, padded: Buffer, nowMs: number): void {
    const transportCc = findExtension(packet, this.#extensions.transportCc);
    if (transportCc >= 0) {
      this.arrivals.record(readU16(packet, extensionOffset(transportCc)), Math.round(nowMs * 1000));
    }
    this.receiveLocal(packet, padded, nowMs);
  }

  /** As receive(), for a sender in this process: there is no path whose bandwidth it could want to know. */
  receiveLocal(packet: Buffer, padded: Buffer, nowMs: number): void {
    const ssrc = rtpSsrc(packet);
    const stream = this.#lastStream?.ssrc === ssrc ? this.#lastStream : this.#findStream(packet, ssrc);
    const length = unpaddedLength(packet, padded);
    if (stream === undefined || length < 0) {
      return;
    }
    this.#lastStream = stream;
    const payload = length === padded.length ? padded : padded.subarray(0, length);
    const timestamp = rtpTimestamp(packet);
    const sequence = stream.onPacket(rtpSequenceNumber(packet), timestamp, payload.length, nowMs);
    if (stream.role.kind === 'rtx') {
      this.#onRepair(stream.role.repairs, packet, payload, timestamp, nowMs);
    } else {
      this.#onMedia(stream, packet, payload, sequence, timestamp, nowMs);
    }
  }

  #findStream(packet: Buffer, ssrc: number): InboundStream | undefined {
    return this.demux.streamBySsrc(ssrc) ?? this.demux.place(packet, ssrc);
  }

  /** RFC 4588: the payload begins with the original sequence number. Padding-only RTX (probing) is shorter. */
  #onRepair(stream: InboundStream, packet: Buffer, payload: Buffer, timestamp: number, nowMs: number): void {
    if (payload.length < 2) {
      return;
    }
    const sequence = stream.extend(readU16(payload, 0));
    if (sequence >= stream.highestSequence || stream.nack?.onArrival(sequence) !== true) {
      return;
    }
    stream.recovered += 1;
    this.#onMedia(stream, packet, payload.subarray(2), sequence, timestamp, nowMs);
  }

  #onMedia(
    stream: InboundStream,
    packet: Buffer,
    payload: Buffer,
    sequence: number,
    timestamp: number,
    nowMs: number,
  ): void {
    const publication = this.demux.publicationOf(stream);
    if (publication === undefined) {
      return;
    }
    const marker = rtpMarker(packet);
    let descriptor: Buffer | undefined;
    if (publication.kind === 'audio') {
      const level = findExtension(packet, this.#extensions.audioLevel);
      if (level >= 0) {
        publication.onAudioLevel((packet[extensionOffset(level)] ?? 0) & 0x7f);
      }
    } else {
      if (publication.needsDependencyDescriptor) {
        const found = findExtension(packet, this.#extensions.dependencyDescriptor);
        const offset = extensionOffset(found);
        descriptor = found < 0 ? undefined : packet.subarray(offset, offset + extensionLength(found));
      }
      if (stream.needsKeyframe && stream.role.kind === 'media') {
        stream.needsKeyframe = false;
        publication.requestKeyframe(stream.role.layer);
      }
    }
    if (stream.store(sequence, timestamp, marker, payload, descriptor)) {
      publication.onMedia(stream, payload, sequence, timestamp, marker, descriptor, nowMs);
    }
  }
}
