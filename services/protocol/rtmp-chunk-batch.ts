/** A message whose body is in pieces that other connections send too. */
export type OutgoingMessage = {
  /** 2 … 63 */
  chunkStreamId: number;
  typeId: number;
  messageStreamId: number;
  /** Unsigned 32 bit. */
  timestampMs: number;
  body: readonly Uint8Array[];
};

const HEADER_BYTES = 12;
const EXTENDED_TIMESTAMP = 0xffffff;
const EXTENDED_BYTES = 4;

/**
 * Many messages as one buffer of chunks (RTMP 1.0 section 5.3.1), each with a full header: one copy and one write per
 * connection, however many messages and pieces there are.
 */
export function chunkMessages(messages: readonly OutgoingMessage[], chunkBytes: number): Buffer {
  let total = 0;
  for (const message of messages) {
    const bodyBytes = lengthOf(message.body);
    const chunks = Math.max(1, Math.ceil(bodyBytes / chunkBytes));
    const extended = message.timestampMs >= EXTENDED_TIMESTAMP ? EXTENDED_BYTES : 0;
    total += HEADER_BYTES + bodyBytes + chunks - 1 + chunks * extended;
  }
  const out = Buffer.allocUnsafe(total);
  let offset = 0;
  for (const message of messages) {
    offset = writeMessage(out, offset, message, chunkBytes);
  }
  return out;
}

function writeMessage(out: Buffer, start: number, message: OutgoingMessage, chunkBytes: number): number {
  const extended = message.timestampMs >= EXTENDED_TIMESTAMP;
  let offset = start;
  out[offset] = message.chunkStreamId;
  out.writeUIntBE(extended ? EXTENDED_TIMESTAMP : message.timestampMs, offset + 1, 3);
  out.writeUIntBE(lengthOf(message.body), offset + 4, 3);
  out[offset + 7] = message.typeId;
  out.writeUInt32LE(message.messageStreamId, offset + 8);
  offset += HEADER_BYTES;
  const writeExtended = (): void => {
    if (extended) {
      offset = out.writeUInt32BE(message.timestampMs, offset);
    }
  };
  writeExtended();
  let chunkLeft = chunkBytes;
  for (const piece of message.body) {
    let pieceAt = 0;
    while (pieceAt < piece.length) {
      if (chunkLeft === 0) {
        out[offset] = 0xc0 | message.chunkStreamId;
        offset++;
        writeExtended();
        chunkLeft = chunkBytes;
      }
      const taken = Math.min(chunkLeft, piece.length - pieceAt);
      out.set(piece.subarray(pieceAt, pieceAt + taken), offset);
      offset += taken;
      pieceAt += taken;
      chunkLeft -= taken;
    }
  }
  return offset;
}

function lengthOf(body: readonly Uint8Array[]): number {
  return body.reduce((sum, piece) => sum + piece.length, 0);
}
