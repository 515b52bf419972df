import { nalType, splitAnnexB, withoutDelimiters } from '../codecs/h264.ts';
import { RTP_NAL, isVideoCodingLayer } from './h264-rtp.ts';
import { NO_HEAD, splitEvenly, type Packetizer, type RtpPayload } from './packetizer-types.ts';

const STAP_UNIT_HEADER_LENGTH = 2;
const FU_HEADER_LENGTH = 2;

/**
 * RFC 6184 packetization mode 1: parameter sets and SEI in front of a picture share a STAP-A when there is more than
 * one, everything else is a single NAL unit packet or FU-A fragments.
 */
export class H264Packetizer implements Packetizer {
  packetize(frame: Uint8Array, options: { maxPayloadLength: number }): RtpPayload[] {
    const payloads: RtpPayload[] = [];
    let small: Uint8Array[] = [];
    const flush = (): void => {
      if (small.length > 0) {
        payloads.push(aggregate(small));
        small = [];
      }
    };
    for (const unit of withoutDelimiters(splitAnnexB(frame))) {
      const type = nalType(unit);
      if (isVideoCodingLayer(type) || unit.length + STAP_UNIT_HEADER_LENGTH + 1 > options.maxPayloadLength) {
        flush();
        payloads.push(...fragment(unit, options.maxPayloadLength));
        continue;
      }
      if (aggregateLength(small) + STAP_UNIT_HEADER_LENGTH + unit.length > options.maxPayloadLength) {
        flush();
      }
      small.push(unit);
    }
    flush();
    return payloads;
  }
}

function aggregateLength(units: readonly Uint8Array[]): number {
  return units.reduce((sum, unit) => sum + STAP_UNIT_HEADER_LENGTH + unit.length, 1);
}

/** §5.7.1. A single unit goes out as it is. */
function aggregate(units: readonly Uint8Array[]): RtpPayload {
  const [first] = units;
  if (first !== undefined && units.length === 1) {
    return { head: NO_HEAD, body: first };
  }
  const body = new Uint8Array(aggregateLength(units));
  // NRI is the highest of the aggregated units.
  const nri = units.reduce((highest, unit) => Math.max(highest, (unit[0] ?? 0) & 0x60), 0);
  body[0] = nri | RTP_NAL.stapA;
  let offset = 1;
  for (const unit of units) {
    body[offset] = unit.length >>> 8;
    body[offset + 1] = unit.length & 0xff;
    body.set(unit, offset + STAP_UNIT_HEADER_LENGTH);
    offset += STAP_UNIT_HEADER_LENGTH + unit.length;
  }
  return { head: NO_HEAD, body };
}

/** §5.8: FU indicator + FU header replace the unit's own header byte. */
function fragment(unit: Uint8Array, maxPayloadLength: number): RtpPayload[] {
  if (unit.length <= maxPayloadLength) {
    return [{ head: NO_HEAD, body: unit }];
  }
  const header = unit[0] ?? 0;
  const pieces = splitEvenly(unit.subarray(1), maxPayloadLength - FU_HEADER_LENGTH);
  return pieces.map((body, index) => {
    const start = index === 0 ? 0x80 : 0;
    const end = index === pieces.length - 1 ? 0x40 : 0;
    return { head: Uint8Array.of((header & 0xe0) | RTP_NAL.fuA, start | end | (header & 0x1f)), body };
  });
}
