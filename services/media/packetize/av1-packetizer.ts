import { AV1_OBU, obuHeader, splitObus, writeLeb128 } from '../codecs/av1.ts';
import { concatPieces } from './concat-pieces.ts';
import type { Packetizer, RtpPayload } from './packetizer-types.ts';

const AGGREGATION_HEADER_LENGTH = 1;
/** Of an element in a packet: they are all shorter than 16384 bytes. */
const MAX_LENGTH_FIELD = 2;
/** A shorter start of an OBU is not worth its length field. */
const MIN_FRAGMENT = 16;
/** Up to this many elements the last one needs no length (W). */
const MAX_COUNTED = 3;
const FLAG = { continues: 0x80, isContinued: 0x40, newSequence: 0x08 } as const;
/** Not sent (section 5): receivers know from the timestamp where a temporal unit begins, and do without the others. */
const LEFT_OUT: ReadonlySet<number> = new Set([AV1_OBU.temporalDelimiter, AV1_OBU.tileList, AV1_OBU.padding]);

type Element = { header: Uint8Array; payload: Uint8Array };
/** What of an element is in one packet. */
type Part = { header: Uint8Array; payload: Uint8Array; length: number };

/** RTP Payload Format For AV1, version 1.0: one temporal unit per frame, OBUs without their size fields. */
export class Av1Packetizer implements Packetizer {
  /** @throws ServiceError malformed when `frame` is no sequence of OBUs. */
  packetize(frame: Uint8Array, options: { key: boolean; maxPayloadLength: number }): RtpPayload[] {
    const obus = splitObus(frame).filter(({ type }) => !LEFT_OUT.has(type));
    const elements = obus.map(({ bytes, payload }) => ({ header: obuHeader(bytes), payload }));
    const newSequence = options.key && obus.some(({ type }) => type === AV1_OBU.sequenceHeader);
    const packets = fill(elements, evenCapacity(elements, options.maxPayloadLength));
    return packets.map(({ parts, continues, isContinued }, index) => {
      const flags =
        (continues ? FLAG.continues : 0) |
        (isContinued ? FLAG.isContinued : 0) |
        (newSequence && index === 0 ? FLAG.newSequence : 0);
      return toPayload(flags, parts);
    });
  }
}

type Packet = { parts: Part[]; continues: boolean; isContinued: boolean };

/** Room for elements and their lengths, so that packets come out of nearly equal size. */
function evenCapacity(elements: readonly Element[], maxPayloadLength: number): number {
  const room = maxPayloadLength - AGGREGATION_HEADER_LENGTH;
  const total = elements.reduce((sum, element) => sum + lengthOf(element) + MAX_LENGTH_FIELD, 0);
  const count = Math.max(1, Math.ceil(total / (room - MAX_LENGTH_FIELD)));
  return Math.min(room, Math.ceil(total / count) + MAX_LENGTH_FIELD);
}

function fill(elements: readonly Element[], capacity: number): Packet[] {
  const packets: Packet[] = [];
  let parts: Part[] = [];
  let used = 0;
  let continues = false;
  const flush = (isContinued: boolean): void => {
    packets.push({ parts, continues, isContinued });
    [parts, used, continues] = [[], 0, isContinued];
  };
  for (const element of elements) {
    const length = lengthOf(element);
    for (let offset = 0; offset < length;) {
      const room = capacity - used - MAX_LENGTH_FIELD;
      if (parts.length > 0 && room < Math.min(MIN_FRAGMENT, length - offset)) {
        flush(offset > 0);
        continue;
      }
      const end = Math.min(length, offset + room);
      parts.push(partOf(element, offset, end));
      used += end - offset + MAX_LENGTH_FIELD;
      offset = end;
      if (offset < length) {
        flush(true);
      }
    }
  }
  if (parts.length > 0) {
    flush(false);
  }
  return packets;
}

function lengthOf({ header, payload }: Element): number {
  return header.length + payload.length;
}

function partOf({ header, payload }: Element, start: number, end: number): Part {
  const skip = header.length;
  return {
    header: header.subarray(start, Math.min(end, skip)),
    payload: payload.subarray(Math.max(0, start - skip), Math.max(0, end - skip)),
    length: end - start,
  };
}

/** Section 4.4. The last part's bytes are not copied. */
function toPayload(flags: number, parts: readonly Part[]): RtpPayload {
  const count = parts.length <= MAX_COUNTED ? parts.length : 0;
  const pieces: Uint8Array[] = [Uint8Array.of(flags | (count << 4))];
  for (const [index, part] of parts.entries()) {
    const isLast = index === parts.length - 1;
    if (!isLast || count === 0) {
      pieces.push(writeLeb128(part.length));
    }
    pieces.push(part.header, ...(isLast ? [] : [part.payload]));
  }
  return { head: concatPieces(pieces), body: parts.at(-1)?.payload ?? new Uint8Array(0) };
}
