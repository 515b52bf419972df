/** Sizes that are not known in advance: the segment lasts as long as its stream (RFC 8794 section 6.2). */
const UNKNOWN_SIZE = Buffer.from('01ffffffffffffff', 'hex');
const TRACK = { picture: 1, sound: 2 } as const;
const TRACK_TYPE = { picture: 1, sound: 2 } as const;
const KEY_FRAME = 0x80;

/** Raw pictures and sound in one Matroska stream (RFC 9559), each with the time it is given: ffmpeg reads it as it grows. */
export const liveMatroska = {
  /** What comes first. `framesPerSecond` is what a reader is told, times are what counts. */
  header(options: {
    width: number;
    height: number;
    framesPerSecond: number;
    sampleRateHz: number;
    channels: number;
  }): Buffer {
    const picture = element('e0', [
      element('b0', unsigned(options.width)),
      element('ba', unsigned(options.height)),
      element('2eb524', Buffer.from('I420')),
    ]);
    const sound = element('e1', [
      element('b5', float(options.sampleRateHz)),
      element('9f', unsigned(options.channels)),
      element('6264', unsigned(16)),
    ]);
    const frameNs = Math.round(1e9 / options.framesPerSecond);
    return Buffer.concat([
      element('1a45dfa3', [
        element('4282', Buffer.from('matroska')),
        element('4287', unsigned(4)),
        element('4285', unsigned(2)),
      ]),
      Buffer.from('18538067', 'hex'),
      UNKNOWN_SIZE,
      element('1549a966', [element('2ad7b1', unsigned(1_000_000))]),
      element('1654ae6b', [
        track('picture', 'V_UNCOMPRESSED', [element('23e383', unsigned(frameNs)), picture]),
        track('sound', 'A_PCM/INT/LIT', [sound]),
      ]),
    ]);
  },

  /** What goes in front of `length` bytes of one picture (I420) or piece of sound (16 bit, interleaved). */
  blockHead(kind: keyof typeof TRACK, timeMs: number, length: number): Buffer {
    const head = Buffer.from([0x80 | TRACK[kind], 0, 0, KEY_FRAME]);
    const block = Buffer.concat([Buffer.from('a3', 'hex'), size(head.length + length), head]);
    const time = element('e7', unsigned(Math.round(timeMs)));
    const cluster = Buffer.from('1f43b675', 'hex');
    return Buffer.concat([cluster, size(time.length + block.length + length), time, block]);
  },
};

function track(kind: keyof typeof TRACK, codec: string, more: readonly Buffer[]): Buffer {
  return element('ae', [
    element('d7', unsigned(TRACK[kind])),
    element('73c5', unsigned(TRACK[kind])),
    element('83', unsigned(TRACK_TYPE[kind])),
    element('9c', unsigned(0)),
    element('86', Buffer.from(codec)),
    ...more,
  ]);
}

function element(id: string, content: Buffer | readonly Buffer[]): Buffer {
  const body = Buffer.isBuffer(content) ? content : Buffer.concat(content);
  return Buffer.concat([Buffer.from(id, 'hex'), size(body.length), body]);
}

/** Always in eight bytes. */
function size(bytes: number): Buffer {
  const coded = Buffer.alloc(8);
  coded.writeBigUInt64BE((1n << 56n) | BigInt(bytes));
  return coded;
}

function unsigned(value: number): Buffer {
  const coded = Buffer.alloc(8);
  coded.writeBigUInt64BE(BigInt(value));
  return coded;
}

function float(value: number): Buffer {
  const coded = Buffer.alloc(8);
  coded.writeDoubleBE(value);
  return coded;
}
