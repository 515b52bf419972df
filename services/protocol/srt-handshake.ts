/**
 * The handshake of SRT (draft-sharabayko-srt-01 section 3.2.1) as far as a listener reads it before it knows who calls.
 * Nothing here throws, whatever the bytes.
 */

/** Header and handshake without extensions: what a question and its answer have in common. */
export const HANDSHAKE_BYTES = 64;

/** Byte offsets in a datagram; the first four are those of the packet header. */
const AT = {
  packetType: 0,
  timestamp: 8,
  destinationId: 12,
  version: 16,
  encryption: 20,
  extensions: 22,
  type: 36,
  socketId: 40,
  cookie: 44,
} as const;
const CONTROL = { handshake: 0x8000_0000, shutdown: 0x8005 } as const;
const TYPE = { induction: 1, conclusion: 0xffff_ffff } as const;
const VERSION = { induction: 4, conclusion: 5 } as const;
/** Asks the caller of an induction for version 5 (table 4). */
const SRT_MAGIC = 0x4a17;
const DGRAM = 2;
const EXTENSION = { response: 2, keyMaterial: 3, streamId: 5, congestion: 6, group: 8 } as const;

export type SrtHandshake = {
  /** 'other': no way in, by whatever means (rendezvous, agreement, an answer). */
  kind: 'induction' | 'conclusion' | 'other';
  version: number;
  /** Of the sender. */
  socketId: number;
  cookie: number;
};

export type SrtConclusion = {
  streamId: string;
  /** Undefined: what it sends is not encrypted. */
  keyMaterial: Buffer | undefined;
  /** Of the control of its rate: 'live' sends as media comes. */
  congestion: string;
  /** It wants to send over several connections at once. */
  isGroup: boolean;
};

/** Why a conclusion is turned down: SRT's own codes (libsrt, srtcore/srt.h), then those of HTTP plus 1000 (access_control.h). */
export const SRT_REJECT = {
  version: 8,
  badSecret: 10,
  unsecure: 11,
  congestion: 13,
  group: 15,
  badRequest: 1400,
  unauthorized: 1401,
  overload: 1402,
  forbidden: 1403,
  notFound: 1404,
  badMode: 1405,
  conflict: 1409,
  internal: 1500,
  unavailable: 1503,
} as const;
export type SrtReject = keyof typeof SRT_REJECT;

/** Undefined: no handshake. */
export function parseHandshake(datagram: Buffer): SrtHandshake | undefined {
  if (
    datagram.length < HANDSHAKE_BYTES ||
    datagram.length % 4 !== 0 ||
    datagram.readUInt32BE(AT.packetType) !== CONTROL.handshake
  ) {
    return undefined;
  }
  const type = datagram.readUInt32BE(AT.type);
  return {
    kind: type === TYPE.induction ? 'induction' : type === TYPE.conclusion ? 'conclusion' : 'other',
    version: datagram.readUInt32BE(AT.version),
    socketId: datagram.readUInt32BE(AT.socketId),
    cookie: datagram.readUInt32BE(AT.cookie),
  };
}

/** The extensions of a conclusion. Undefined: they are damaged. */
export function parseConclusion(datagram: Buffer): SrtConclusion | undefined {
  const found: SrtConclusion = {
    streamId: '',
    keyMaterial: undefined,
    congestion: 'live',
    isGroup: false,
  };
  const isWhole = eachExtension(datagram, (type, content) => {
    if (type === EXTENSION.streamId) {
      found.streamId = textOf(content);
    } else if (type === EXTENSION.keyMaterial) {
      found.keyMaterial = content;
    } else if (type === EXTENSION.congestion) {
      found.congestion = textOf(content);
    } else if (type === EXTENSION.group) {
      found.isGroup = true;
    }
  });
  return isWhole ? found : undefined;
}

/** How long the sender of this answer to a conclusion holds back what it receives; 0: not told. */
export function receiverDelayMsOf(answer: Buffer): number {
  let delayMs = 0;
  eachExtension(answer, (type, content) => {
    if (type === EXTENSION.response && content.length >= 12) {
      delayMs = content.readUInt16BE(8);
    }
  });
  return delayMs;
}

/** What a listener answers an induction; as long as the question. */
export function inductionAnswer(question: Buffer, cookie: number): Buffer {
  const answer = answerTo(question);
  answer.writeUInt32BE(VERSION.conclusion, AT.version);
  // The length of a key is up to the caller.
  answer.writeUInt16BE(0, AT.encryption);
  answer.writeUInt16BE(SRT_MAGIC, AT.extensions);
  answer.writeUInt32BE(cookie, AT.cookie);
  return answer;
}

/** The refusal of a conclusion; never longer than it. */
export function rejection(question: Buffer, reason: SrtReject): Buffer {
  const answer = answerTo(question);
  answer.writeUInt32BE(VERSION.conclusion, AT.version);
  answer.writeUInt32BE(0, AT.encryption);
  answer.writeUInt32BE(1000 + SRT_REJECT[reason], AT.type);
  return answer;
}

/** The first question a caller asks, made from a later one. */
export function inductionOf(conclusion: Buffer): Buffer {
  const question = Buffer.from(conclusion.subarray(0, HANDSHAKE_BYTES));
  question.writeUInt32BE(VERSION.induction, AT.version);
  question.writeUInt16BE(0, AT.encryption);
  question.writeUInt16BE(DGRAM, AT.extensions);
  question.writeUInt32BE(TYPE.induction, AT.type);
  question.writeUInt32BE(0, AT.cookie);
  return question;
}

export function withCookie(handshake: Buffer, cookie: number): Buffer {
  const copy = Buffer.from(handshake);
  copy.writeUInt32BE(cookie, AT.cookie);
  return copy;
}

/** Ends a connection at once. @param socketId of whom it is for. */
export function shutdown(socketId: number): Buffer {
  const datagram = Buffer.alloc(20);
  datagram.writeUInt16BE(CONTROL.shutdown, AT.packetType);
  datagram.writeUInt32BE(socketId, AT.destinationId);
  return datagram;
}

export function isShutdown(datagram: Buffer): boolean {
  return datagram.length >= 16 && datagram.readUInt16BE(AT.packetType) === CONTROL.shutdown;
}

/** Whom a packet is for; 0 = the listener. Undefined: too short to be one. */
export function destinationOf(datagram: Buffer): number | undefined {
  return datagram.length < 16 ? undefined : datagram.readUInt32BE(AT.destinationId);
}

/** @returns false when the last one is cut off. */
function eachExtension(datagram: Buffer, visit: (type: number, content: Buffer) => void): boolean {
  let offset = HANDSHAKE_BYTES;
  while (offset + 4 <= datagram.length) {
    const end = offset + 4 + datagram.readUInt16BE(offset + 2) * 4;
    if (end > datagram.length) {
      return false;
    }
    visit(datagram.readUInt16BE(offset), datagram.subarray(offset + 4, end));
    offset = end;
  }
  return offset === datagram.length;
}

/** The question's first bytes, sent back to the socket it came from. */
function answerTo(question: Buffer): Buffer {
  const answer = Buffer.from(question.subarray(0, HANDSHAKE_BYTES));
  answer.writeUInt32BE(0, AT.timestamp);
  answer.writeUInt32BE(answer.readUInt32BE(AT.socketId), AT.destinationId);
  return answer;
}

/** Text goes in 32-bit words, each with its bytes in reverse (section 3.2.1.3). */
function textOf(content: Buffer): string {
  const bytes = Buffer.from(content);
  bytes.swap32();
  const end = bytes.indexOf(0);
  return bytes.toString('utf8', 0, end === -1 ? bytes.length : end);
}
