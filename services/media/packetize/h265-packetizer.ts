import { splitAnnexB } from '../codecs/h264.ts';
import { H265_NAL_TYPE, h265NalType } from '../codecs/h265.ts';
import { H265_HEADER_LENGTH, H265_RTP_NAL, isH265Picture, withH265Type } from './h265-rtp.ts';
import { NO_HEAD, splitEvenly, type Packetizer, type RtpPayload } from './packetizer-types.ts';

const UNIT_LENGTH_FIELD = 2;
const FU_HEADER_LENGTH = 1;
const LEFT_OUT: ReadonlySet<number> = new Set([
  H265_NAL_TYPE.accessUnitDelimiter,
  H265_NAL_TYPE.endOfSequence,
  H265_NAL_TYPE.endOfBitstream,
  H265_NAL_TYPE.fillerData,
]);

/**
 * RFC 7798 without DONL fields: parameter sets and SEI in front of a picture share an aggregation packet when there is
 * more than one, everything else is a single NAL unit packet or fragments.
 */
export class H265Packetizer implements Packetizer {
  packetize(frame: Uint8Array, options: { maxPayloadLength: number }): RtpPayload[] {
    const { maxPayloadLength } = options;
    const payloads: RtpPayload[] = [];
    let small: Uint8Array[] = [];
    const flush = (): void => {
      if (small.length > 0) {
        payloads.push(aggregate(small));
        small = [];
      }
    };
    for (const unit of splitAnnexB(frame)) {
      const type = h265NalType(unit);
      if (LEFT_OUT.has(type) || unit.length <= H265_HEADER_LENGTH) {
        continue;
      }
      if (isH265Picture(type) || aggregateLength([unit]) > maxPayloadLength) {
        flush();
        payloads.push(...fragment(unit, maxPayloadLength));
        continue;
      }
      if (aggregateLength([...small, unit]) > maxPayloadLength) {
        flush();
      }
      small.push(unit);
    }
    flush();
    return payloads;
  }
}

function aggregateLength(units: readonly Uint8Array[]): number {
  return units.reduce((sum, unit) => sum + UNIT_LENGTH_FIELD + unit.length, H265_HEADER_LENGTH);
}

/** Section 4.4.2. A single unit goes out as it is. */
function aggregate(units: readonly Uint8Array[]): RtpPayload {
  const [first] = units;
  if (first !== undefined && units.length === 1) {
    return { head: NO_HEAD, body: first };
  }
  const body = new Uint8Array(aggregateLength(units));
  // Layer and temporal id of the first unit: parameter sets have the lowest there are.
  body.set(withH265Type(first ?? NO_HEAD, H265_RTP_NAL.aggregation));
  let offset = H265_HEADER_LENGTH;
  for (const unit of units) {
    body[offset] = unit.length >>> 8;
    body[offset + 1] = unit.length & 0xff;
    body.set(unit, offset + UNIT_LENGTH_FIELD);
    offset += UNIT_LENGTH_FIELD + unit.length;
  }
  return { head: NO_HEAD, body };
}

/** Section 4.4.3: payload header and FU header take the place of the unit's own header. */
function fragment(unit: Uint8Array, maxPayloadLength: number): RtpPayload[] {
  if (unit.length <= maxPayloadLength) {
    return [{ head: NO_HEAD, body: unit }];
  }
  const overhead = H265_HEADER_LENGTH + FU_HEADER_LENGTH;
  const pieces = splitEvenly(unit.subarray(H265_HEADER_LENGTH), maxPayloadLength - overhead);
  const header = withH265Type(unit, H265_RTP_NAL.fragmentation);
  return pieces.map((body, index) => {
    const start = index === 0 ? 0x80 : 0;
    const end = index === pieces.length - 1 ? 0x40 : 0;
    return { head: Uint8Array.of(...header, start | end | h265NalType(unit)), body };
  });
}
