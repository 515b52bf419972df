/** Message types, RTMP 1.0 (Adobe, 2012) sections 5.4, 6.2 and 7.1. */
export const RTMP_MESSAGE = {
  setChunkSize: 1,
  abort: 2,
  acknowledgement: 3,
  userControl: 4,
  windowAcknowledgementSize: 5,
  setPeerBandwidth: 6,
  audio: 8,
  video: 9,
  dataAmf3: 15,
  commandAmf3: 17,
  dataAmf0: 18,
  commandAmf0: 20,
  aggregate: 22,
} as const;

/** Section 7.1.7. */
export const USER_CONTROL = { streamBegin: 0, streamEof: 1, pingRequest: 6, pingResponse: 7 } as const;

export type RtmpMessage = {
  typeId: number;
  /** 0 for the connection itself, otherwise what createStream answered. */
  messageStreamId: number;
  /** Milliseconds, unsigned 32 bit, wraps after 49 days. */
  timestampMs: number;
  /** Owned by the receiver. */
  payload: Buffer;
};

export function uint32Message(typeId: number, value: number): RtmpMessage {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(value);
  return { typeId, messageStreamId: 0, timestampMs: 0, payload };
}

/** Limit type 2 (dynamic), section 5.4.5. */
export function peerBandwidthMessage(bytes: number): RtmpMessage {
  const payload = Buffer.alloc(5);
  payload.writeUInt32BE(bytes);
  payload[4] = 2;
  return { typeId: RTMP_MESSAGE.setPeerBandwidth, messageStreamId: 0, timestampMs: 0, payload };
}

export function userControlMessage(event: number, value: number): RtmpMessage {
  const payload = Buffer.alloc(6);
  payload.writeUInt16BE(event);
  payload.writeUInt32BE(value, 2);
  return { typeId: RTMP_MESSAGE.userControl, messageStreamId: 0, timestampMs: 0, payload };
}

const AGGREGATE_HEADER_BYTES = 11;
const BACK_POINTER_BYTES = 4;

/** The messages inside an aggregate (section 7.1.6); its time is that of the first one. Cut-off tails are left out. */
export function splitAggregate(message: RtmpMessage): RtmpMessage[] {
  const { payload } = message;
  const messages: RtmpMessage[] = [];
  let firstMs: number | undefined;
  let offset = 0;
  while (offset + AGGREGATE_HEADER_BYTES <= payload.length) {
    const length = payload.readUIntBE(offset + 1, 3);
    const start = offset + AGGREGATE_HEADER_BYTES;
    if (start + length > payload.length) {
      break;
    }
    const timestampMs = (payload.readUIntBE(offset + 4, 3) | (payload.readUInt8(offset + 7) << 24)) >>> 0;
    firstMs ??= timestampMs;
    messages.push({
      typeId: payload.readUInt8(offset),
      messageStreamId: message.messageStreamId,
      timestampMs: (message.timestampMs + timestampMs - firstMs) >>> 0,
      payload: payload.subarray(start, start + length),
    });
    offset = start + length + BACK_POINTER_BYTES;
  }
  return messages;
}
