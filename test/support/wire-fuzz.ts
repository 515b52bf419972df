import { ServiceError } from '../../services/base/errors.ts';
import { readConnect } from '../../services/ingress/servers/rtmp-capabilities.ts';
import { parseCommand, parseMetadata, streamKeyOf } from '../../services/ingress/servers/rtmp-commands.ts';
import { decodeAmf0 } from '../../services/protocol/amf0.ts';
import { parseFlvAudio, parseFlvVideo } from '../../services/protocol/flv.ts';
import { ChunkReader } from '../../services/protocol/rtmp-chunk.ts';
import { ServerHandshake } from '../../services/protocol/rtmp-handshake.ts';
import { splitAggregate, type RtmpMessage } from '../../services/protocol/rtmp-message.ts';
import { parseSdpFragment } from '../../services/protocol/sdp-fragment.ts';
import { parseSdp } from '../../services/protocol/sdp.ts';
import { parseWhipOffer } from '../../services/sfu/whip/whip-offer.ts';
import type { SeededRandom } from './seeded-random.ts';
import { AUDIO, offerOf, VIDEO } from './whip-offers.ts';
import { expectThat, fuzzEnhanced, fuzzFlv } from './wire-fuzz-media.ts';

/** One input of a kind, made by its grammar with lies in it, and read. Throws only ServiceError. */
export type FuzzTarget = { name: string; share: number; attempt: (random: SeededRandom) => void };
export type FuzzReport = { cases: number; refused: number; faults: string[] };

const LIMITS = {
  maxMessageBytes: 65_536,
  maxBufferedBytes: 131_072,
  maxChunkStreams: 16,
  maxTrustedBytes: 16_384,
};
const EXTREMES = [0, 1, 2, 3, 127, 128, 255, 256, 65_535, 65_536, 0xfffffe, 0xffffff, 0x7fffffff, 0xffffffff];

/** Runs all targets in turn. Everything thrown that is no ServiceError is a fault, with what repeats it. */
export function fuzzWire(cases: number, random: SeededRandom): FuzzReport {
  const report: FuzzReport = { cases, refused: 0, faults: [] };
  const turns = FUZZ_TARGETS.flatMap((target) => Array<FuzzTarget>(target.share).fill(target));
  for (let index = 0; index < cases && report.faults.length < 10; index++) {
    const target = turns[index % turns.length] as FuzzTarget;
    try {
      target.attempt(random);
    } catch (error) {
      if (error instanceof ServiceError) {
        report.refused++;
      } else {
        report.faults.push(
          `case ${index}, ${target.name}: ${String(error instanceof Error ? error.stack : error)}`,
        );
      }
    }
  }
  return report;
}

export const FUZZ_TARGETS: readonly FuzzTarget[] = [
  { name: 'handshake', share: 1, attempt: fuzzHandshake },
  { name: 'chunks', share: 5, attempt: fuzzChunks },
  { name: 'AMF0', share: 5, attempt: fuzzAmf },
  { name: 'FLV', share: 4, attempt: fuzzFlv },
  { name: 'Enhanced RTMP', share: 4, attempt: fuzzEnhanced },
  { name: 'SDP', share: 1, attempt: (random) => void parseSdp(damageLines(random, pickOffer(random))) },
  { name: 'WHIP offer', share: 2, attempt: fuzzWhipOffer },
  { name: 'PATCH', share: 2, attempt: (random) => void parseSdpFragment(damageLines(random, FRAGMENT)) },
];

function uint(value: number, bytes: 2 | 3 | 4): Buffer {
  const out = Buffer.alloc(bytes);
  out.writeUIntBE(value % 2 ** (8 * bytes), 0, bytes);
  return out;
}

/** Mostly the truth. */
function lie(random: SeededRandom, truth: number): number {
  return random.chance(0.85) ? truth : random.pick([...EXTREMES, truth + 1, Math.max(0, truth - 1)]);
}

function filled(random: SeededRandom, length: number): Buffer {
  return Buffer.alloc(length, random.int(256));
}

function fuzzHandshake(random: SeededRandom): void {
  const handshake = new ServerHandshake();
  const bytes = filled(random, random.pick([0, 1, 1536, 1537, 3072, 3073, 3074, 5000]));
  bytes.fill(random.chance(0.9) ? 3 : random.int(256), 0, Math.min(1, bytes.length));
  for (let touched = random.int(8); touched > 0 && bytes.length > 1; touched--) {
    bytes[1 + random.int(bytes.length - 1)] = random.int(256);
  }
  let replied = 0;
  for (let offset = 0; offset < bytes.length;) {
    const end = offset + 1 + random.int(2_000);
    const step = handshake.push(bytes.subarray(offset, end));
    replied += step.reply.length;
    offset = end;
    if (step.done) {
      break;
    }
  }
  expectThat(replied === 0 || replied === 3073, `${replied} bytes of answers`);
}

function fuzzChunks(random: SeededRandom): void {
  const reader = new ChunkReader(LIMITS);
  const stream = Buffer.concat(Array.from({ length: 1 + random.int(8) }, () => randomChunk(random)));
  const piece = random.pick([1, 7, 100, stream.length]);
  for (let offset = 0; offset < stream.length; offset += piece) {
    reader.push(stream.subarray(offset, offset + piece), (message) => {
      readMessage(message);
    });
    expectThat(reader.bufferedBytes <= LIMITS.maxBufferedBytes, 'too much is held');
  }
}

function randomChunk(random: SeededRandom): Buffer {
  const format = random.chance(0.6) ? 0 : random.int(4);
  const id = random.pick([2, 3, 3, 4, 6, 63, 0, 1]);
  const typeId = random.pick([1, 2, 3, 4, 5, 6, 8, 9, 15, 17, 18, 20, 20, 22, random.int(256)]);
  const payload = random.chance(0.3) ? amfValue(random, 0) : Buffer.from(random.bytes(random.int(140)));
  const time = random.pick([0, 40, 0xffffff, 0xffffff, 0xfffffe]);
  const header = [
    Buffer.from([(format << 6) | id, ...random.bytes(id === 0 ? 1 : id === 1 ? 2 : 0)]),
    ...(format < 3 ? [uint(time, 3)] : []),
    ...(format < 2 ? [uint(lie(random, payload.length), 3), Buffer.from([typeId])] : []),
    ...(format < 1 ? [Buffer.from([random.int(3), 0, 0, 0])] : []),
    ...(time === 0xffffff && random.chance(0.8) ? [uint(random.pick(EXTREMES), 4)] : []),
  ];
  if (payload.length > 128 && random.chance(0.8)) {
    return Buffer.concat([
      ...header,
      payload.subarray(0, 128),
      Buffer.from([0xc0 | id]),
      payload.subarray(128),
    ]);
  }
  return Buffer.concat([...header, payload]);
}

/** What a connection does with a message, as far as it is reading. */
function readMessage(message: RtmpMessage): void {
  switch (message.typeId) {
    case 20:
    case 17:
      readCommand(message);
      return;
    case 18:
    case 15:
      parseMetadata(message, 16_384);
      return;
    case 22:
      splitAggregate(message).forEach(readMessage);
      return;
    case 9:
      parseFlvVideo(message.payload);
      return;
    case 8:
      parseFlvAudio(message.payload);
      return;
    default:
  }
}

function readCommand(message: RtmpMessage): void {
  const { args } = parseCommand(message, 16_384);
  const { app } = readConnect(args[0]);
  expectThat(typeof args[1] !== 'string' || !streamKeyOf(args[1], app).includes('/'), 'a path as stream key');
}

function fuzzAmf(random: SeededRandom): void {
  const parts = Array.from({ length: random.int(6) }, () => amfValue(random, 0));
  const whole = Buffer.concat(parts);
  const data = random.chance(0.3) ? random.damage(whole) : whole;
  expectThat(decodeAmf0(data).length <= 1_024, 'too many values');
}

const KEYS = ['a', 'app', '__proto__', 'constructor', 'toString', '', 'tcUrl', 'fourCcList', '\0', 'ü'];

function amfValue(random: SeededRandom, depth: number): Buffer {
  const marker =
    depth > 9 ? 5 : random.pick([0, 1, 2, 3, 3, 5, 6, 7, 8, 8, 10, 10, 11, 12, 13, 15, 16, 17, 127]);
  const text = random.pick([
    'connect',
    'publish',
    '@setDataFrame',
    'onMetaData',
    'key?x=1',
    '',
    '🎥'.repeat(9),
  ]);
  const children = (make: () => Buffer): Buffer => Buffer.concat(Array.from({ length: random.int(4) }, make));
  const property = (): Buffer =>
    Buffer.concat([amfText(random, random.pick(KEYS), 2), amfValue(random, depth + 1)]);
  const end = random.chance(0.9) ? Buffer.from([0, 0, 9]) : Buffer.alloc(0);
  const body = (): Buffer => {
    switch (marker) {
      case 0:
      case 11: {
        const number = Buffer.alloc(marker === 0 ? 8 : 10);
        number.writeDoubleBE(random.pick([0, 1, -1, NaN, Infinity, 1e308, random.next()]));
        return number;
      }
      case 1:
        return Buffer.from([random.int(3)]);
      case 2:
        return amfText(random, text, 2);
      case 12:
      case 15:
        return amfText(random, text, 4);
      case 3:
        return Buffer.concat([children(property), end]);
      case 8:
        return Buffer.concat([uint(random.pick(EXTREMES), 4), children(property), end]);
      case 16:
        return Buffer.concat([amfText(random, text, 2), children(property), end]);
      case 10: {
        const items = Array.from({ length: random.int(4) }, () => amfValue(random, depth + 1));
        return Buffer.concat([uint(lie(random, items.length), 4), ...items]);
      }
      default:
        return Buffer.alloc(0);
    }
  };
  return Buffer.concat([Buffer.from([marker]), body()]);
}

function amfText(random: SeededRandom, text: string, lengthBytes: 2 | 4): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([uint(lie(random, bytes.length), lengthBytes), bytes]);
}

const FRAGMENT = [
  'a=ice-ufrag:abcd1234',
  'a=ice-pwd:00112233445566778899aabbccddeeff',
  'm=audio 9 UDP/TLS/RTP/SAVPF 0',
  'a=mid:0',
  'a=candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host',
  'a=candidate:2 1 tcp 1518280447 2001:db8::1 9 typ host tcptype active',
  'a=end-of-candidates',
  '',
].join('\r\n');

const OFFERS = [
  offerOf([AUDIO, VIDEO]),
  offerOf([VIDEO, { kind: 'application', mid: '2' }]),
  offerOf([{ ...VIDEO, codec: '98 VP9/90000' }, AUDIO]).concat(
    'a=fmtp:98 profile-id=0\r\na=rtcp-fb:98 nack pli\r\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n',
    'a=rid:h send\r\na=rid:q send\r\na=simulcast:send h;q\r\na=ssrc:1 cname:x\r\na=ssrc-group:FID 1 2\r\na=msid:s t\r\n',
  ),
];

/** What passes is a thing a session can be made of. */
function fuzzWhipOffer(random: SeededRandom): void {
  const { description, sections } = parseWhipOffer(damageLines(random, pickOffer(random)));
  expectThat(sections.length >= 1 && sections.length <= 2, `${sections.length} sections`);
  expectThat(new Set(sections.map(({ kind }) => kind)).size === sections.length, 'two of a kind');
  expectThat(description.iceUfrag.length <= 256, 'an endless user name');
}

function pickOffer(random: SeededRandom): string {
  return random.pick(OFFERS);
}

/** Lines lost, doubled, swapped, and their numbers and words replaced. */
function damageLines(random: SeededRandom, text: string): string {
  const lines = text.split('\r\n');
  for (let fault = random.int(6); fault >= 0; fault--) {
    const at = random.int(lines.length);
    const line = lines[at] ?? '';
    switch (random.int(7)) {
      case 0:
        lines.splice(at, 1);
        break;
      case 1:
        lines.splice(at, 0, ...Array<string>(random.pick([1, 2, 40])).fill(line));
        break;
      case 2:
        lines[at] = line.replace(/\d+/, String(random.pick([...EXTREMES, -1, 1e21, NaN])));
        break;
      case 3:
        lines[at] = line.slice(0, random.int(line.length + 1));
        break;
      case 4:
        lines[at] = line.replace(
          /[^ :=/]+$/,
          random.pick(['', '__proto__', ' ', '\0', 'ü', 'x'.repeat(5_000)]),
        );
        break;
      case 5:
        lines[at] = random.pick(lines);
        break;
      default:
        lines[at] = Buffer.from(random.damage(Buffer.from(line))).toString('latin1');
    }
  }
  return lines.join(random.pick(['\r\n', '\r\n', '\n']));
}
