import { ServiceError } from '../base/errors.ts';

/**
 * Action Message Format 0 (Adobe, 2007), what RTMP commands and metadata are written in. Objects and ECMA arrays
 * become Maps, so that no key ("__proto__") means anything to JavaScript; dates become milliseconds since 1970.
 */
export type AmfValue = number | boolean | string | null | undefined | AmfObject | readonly AmfValue[];
export type AmfObject = ReadonlyMap<string, AmfValue>;

const MARKER = {
  number: 0,
  boolean: 1,
  string: 2,
  object: 3,
  null: 5,
  undefined: 6,
  reference: 7,
  ecmaArray: 8,
  objectEnd: 9,
  strictArray: 10,
  date: 11,
  longString: 12,
  unsupported: 13,
  xmlDocument: 15,
  typedObject: 16,
} as const;

const MAX_DEPTH = 8;
const MAX_VALUES = 1024;

/**
 * All values of one message body.
 * @throws ServiceError malformed when it is cut off, nested deeper than 8, holds more than 1024 values, or uses
 *   references or AMF3.
 */
export function decodeAmf0(data: Uint8Array): AmfValue[] {
  const reader = new AmfReader(data);
  const values: AmfValue[] = [];
  while (!reader.atEnd) {
    values.push(reader.value(0));
  }
  return values;
}

class AmfReader {
  readonly #bytes: Buffer;
  #offset = 0;
  #values = 0;

  constructor(data: Uint8Array) {
    this.#bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  }

  get atEnd(): boolean {
    return this.#offset >= this.#bytes.length;
  }

  value(depth: number): AmfValue {
    this.#values++;
    if (depth > MAX_DEPTH || this.#values > MAX_VALUES) {
      throw malformed(
        depth > MAX_DEPTH ? `nested deeper than ${MAX_DEPTH}` : `more than ${MAX_VALUES} values`,
      );
    }
    const marker = this.#bytes.readUInt8(this.#take(1));
    switch (marker) {
      case MARKER.number:
        return this.#bytes.readDoubleBE(this.#take(8));
      case MARKER.boolean:
        return this.#bytes.readUInt8(this.#take(1)) !== 0;
      case MARKER.string:
        return this.#string(2);
      case MARKER.longString:
      case MARKER.xmlDocument:
        return this.#string(4);
      case MARKER.null:
        return null;
      case MARKER.undefined:
      case MARKER.unsupported:
        return undefined;
      case MARKER.typedObject:
        this.#string(2);
        return this.#object(depth);
      case MARKER.object:
        return this.#object(depth);
      case MARKER.ecmaArray:
        this.#take(4); // the count is a hint, the end marker decides
        return this.#object(depth);
      case MARKER.strictArray:
        return this.#strictArray(depth);
      case MARKER.date: {
        const unixMs = this.#bytes.readDoubleBE(this.#take(8));
        this.#take(2); // time zone, reserved
        return unixMs;
      }
      default:
        throw malformed(`type marker ${marker} is not supported`);
    }
  }

  /** Ends at the end marker; a message that simply stops after a whole property is taken as ended too. */
  #object(depth: number): AmfObject {
    const object = new Map<string, AmfValue>();
    while (!this.atEnd) {
      const key = this.#string(2);
      if (key === '' && this.#bytes[this.#offset] === MARKER.objectEnd) {
        this.#offset++;
        break;
      }
      object.set(key, this.value(depth + 1));
    }
    return object;
  }

  #strictArray(depth: number): AmfValue[] {
    const count = this.#bytes.readUInt32BE(this.#take(4));
    const values: AmfValue[] = [];
    for (let i = 0; i < count; i++) {
      values.push(this.value(depth + 1)); // the value limit ends a count that lies
    }
    return values;
  }

  #string(lengthBytes: 2 | 4): string {
    const length = this.#bytes.readUIntBE(this.#take(lengthBytes), lengthBytes);
    const start = this.#take(length);
    return this.#bytes.toString('utf8', start, start + length);
  }

  /** Moves on by `count` bytes and gives where they start. */
  #take(count: number): number {
    const start = this.#offset;
    if (start + count > this.#bytes.length) {
      throw malformed(`cut off after ${this.#bytes.length} bytes`);
    }
    this.#offset = start + count;
    return start;
  }
}

/** Writes values one behind the other; Maps become objects. */
export function encodeAmf0(values: readonly AmfValue[]): Buffer {
  return Buffer.concat(values.map(encodeValue));
}

/** An AMF object from a literal, for answers we write ourselves. */
export function amfObject(properties: Readonly<Record<string, AmfValue>>): AmfObject {
  return new Map(Object.entries(properties));
}

function encodeValue(value: AmfValue): Buffer {
  switch (typeof value) {
    case 'number': {
      const out = Buffer.alloc(9);
      out.writeDoubleBE(value, 1);
      return out;
    }
    case 'boolean':
      return Buffer.from([MARKER.boolean, value ? 1 : 0]);
    case 'string':
      return encodeString(value);
    case 'undefined':
      return Buffer.from([MARKER.undefined]);
    default:
      return value === null ? Buffer.from([MARKER.null]) : encodeContainer(value);
  }
}

function encodeContainer(value: AmfObject | readonly AmfValue[]): Buffer {
  if (isArray(value)) {
    const header = Buffer.from([MARKER.strictArray, 0, 0, 0, 0]);
    header.writeUInt32BE(value.length, 1);
    return Buffer.concat([header, ...value.map(encodeValue)]);
  }
  const parts = [...value].flatMap(([key, item]) => [encodeKey(key), encodeValue(item)]);
  return Buffer.concat([Buffer.from([MARKER.object]), ...parts, Buffer.from([0, 0, MARKER.objectEnd])]);
}

function isArray(value: AmfObject | readonly AmfValue[]): value is readonly AmfValue[] {
  return Array.isArray(value);
}

function encodeString(text: string): Buffer {
  const bytes = Buffer.from(text);
  const long = bytes.length > 0xffff;
  const header = Buffer.alloc(long ? 5 : 3);
  header[0] = long ? MARKER.longString : MARKER.string;
  header.writeUIntBE(bytes.length, 1, long ? 4 : 2);
  return Buffer.concat([header, bytes]);
}

function encodeKey(key: string): Buffer {
  const bytes = Buffer.from(key).subarray(0, 0xffff);
  const header = Buffer.alloc(2);
  header.writeUInt16BE(bytes.length);
  return Buffer.concat([header, bytes]);
}

function malformed(detail: string): ServiceError {
  return new ServiceError('malformed', `AMF0: ${detail}`);
}
