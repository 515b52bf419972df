import { ServiceError } from '../base/errors.ts';

/** Body of an RTMP video message or FLV video tag (Adobe FLV 10.1 annex E.4.3). */
export type FlvVideo =
  | { packet: 'config'; data: Buffer }
  | {
      packet: 'frame';
      key: boolean;
      /** Presentation minus decoding time; may be negative. */
      compositionMs: number;
      /** H.264 and HEVC: length-prefixed NAL units. */
      data: Buffer;
    }
  | { packet: 'end' }
  /** Seeking information; carries no picture. */
  | { packet: 'info' };

/** Body of an audio message or tag (annex E.4.2). Only AAC has a configuration. */
export type FlvAudio = { packet: 'config'; data: Buffer } | { packet: 'frame'; data: Buffer };

/** Codecs of FLV's own form that can be heard here; PCM is signed, 16 bit, little endian. */
export type FlvAudioCodec = 'aac' | 'mp3' | 'pcm_s16le' | 'pcma' | 'pcmu';
/** `raw`: what the bytes of PCM and G.711 do not say themselves. */
export type FlvSound = {
  codec: FlvAudioCodec;
  audio: FlvAudio;
  raw?: { sampleRateHz: number; channels: number };
};

const AVC = 7;
const AAC = 10;
const ENHANCED_VIDEO_FLAG = 0x80;
const ENHANCED_AUDIO = 9;
const KEY_FRAME = 1;
const INFO_FRAME = 5;

const VIDEO_CODECS: ReadonlyMap<number, string> = new Map([
  [2, 'Sorenson H.263'],
  [3, 'Screen video'],
  [4, 'VP6'],
  [5, 'VP6 with alpha'],
  [6, 'Screen video 2'],
  [12, 'HEVC (codec id 12)'],
]);
const SOUND_CODECS: ReadonlyMap<number, FlvAudioCodec> = new Map([
  [2, 'mp3'],
  [3, 'pcm_s16le'],
  [7, 'pcma'],
  [8, 'pcmu'],
  [AAC, 'aac'],
  [14, 'mp3'],
]);
const OTHER_AUDIO_CODECS: ReadonlyMap<number, string> = new Map([
  [0, "PCM of the encoder's own byte order"],
  [1, 'ADPCM'],
  [4, 'Nellymoser'],
  [5, 'Nellymoser'],
  [6, 'Nellymoser'],
  [11, 'Speex'],
]);
const PCM_SAMPLE_RATES_HZ = [5_512, 11_025, 22_050, 44_100] as const;
const G711_SAMPLE_RATE_HZ = 8_000;

/**
 * H.264 in FLV's own form; flv-enhanced.ts reads the others too.
 * @throws ServiceError unimplemented for other codecs, named; malformed when cut off. `undefined`: an empty message,
 *   which some encoders send as a keep-alive.
 */
export function parseFlvVideo(body: Buffer): FlvVideo | undefined {
  if (body.length === 0) {
    return undefined;
  }
  const first = body.readUInt8(0);
  if ((first & ENHANCED_VIDEO_FLAG) !== 0) {
    throw unsupported('video', `${fourCcText(body.subarray(1, 5))} of Enhanced RTMP`, 'H.264');
  }
  const frameType = first >> 4;
  const codec = first & 15;
  if (frameType === INFO_FRAME) {
    return { packet: 'info' };
  }
  if (codec !== AVC) {
    throw unsupported('video', VIDEO_CODECS.get(codec) ?? `codec id ${codec}`, 'H.264');
  }
  if (body.length < 5) {
    throw new ServiceError('malformed', `FLV video tag of ${body.length} bytes is cut off`);
  }
  const data = body.subarray(5);
  switch (body[1]) {
    case 0:
      return { packet: 'config', data };
    case 1:
      return { packet: 'frame', key: frameType === KEY_FRAME, compositionMs: body.readIntBE(2, 3), data };
    case 2:
      return { packet: 'end' };
    default:
      throw new ServiceError('malformed', `FLV video tag with AVC packet type ${String(body[1])}`);
  }
}

/** Sound in FLV's own form. @throws ServiceError as parseFlvVideo. */
export function parseFlvAudio(body: Buffer): FlvSound | undefined {
  if (body.length === 0) {
    return undefined;
  }
  const first = body.readUInt8(0);
  const id = first >> 4;
  if (id === ENHANCED_AUDIO) {
    throw unsupported('audio', `${fourCcText(body.subarray(1, 5))} of Enhanced RTMP`, 'AAC');
  }
  const codec = SOUND_CODECS.get(id);
  const isShort = codec === 'pcm_s16le' && (first & 2) === 0;
  if (codec === undefined || isShort) {
    const name = isShort ? '8-bit PCM' : (OTHER_AUDIO_CODECS.get(id) ?? `codec id ${id}`);
    throw unsupported('audio', name, 'AAC');
  }
  if (codec === 'aac') {
    if (body.length < 2) {
      throw new ServiceError('malformed', 'FLV audio tag is cut off');
    }
    return { codec, audio: { packet: body[1] === 0 ? 'config' : 'frame', data: body.subarray(2) } };
  }
  const audio = { packet: 'frame', data: body.subarray(1) } as const;
  if (codec === 'mp3') {
    return { codec, audio };
  }
  const channels = (first & 1) + 1;
  const sampleRateHz =
    codec === 'pcm_s16le' ? (PCM_SAMPLE_RATES_HZ[(first >> 2) & 3] ?? 0) : G711_SAMPLE_RATE_HZ;
  return { codec, audio, raw: { sampleRateHz, channels } };
}

function unsupported(kind: string, codec: string, instead: string): ServiceError {
  return new ServiceError(
    'unimplemented',
    `${kind} codec not supported: ${codec}; set the encoder to ${instead}`,
  );
}

/** How Enhanced RTMP's four characters are shown to a person; anything unprintable is shown in hex. */
export function fourCcText(code: Buffer): string {
  const text = code.toString('latin1');
  return /^[\x20-\x7e]{4}$/.test(text) ? `codec "${text}"` : `codec 0x${code.toString('hex')}`;
}

export const FLV_TAG = { audio: 8, video: 9, script: 18 } as const;
const TAG_HEADER_BYTES = 11;
const FILE_HEADER_BYTES = 9;
const BACK_POINTER_BYTES = 4;

/** Header of an FLV file (annex E.2) with the first back pointer. */
export function flvFileHeader(tracks: { audio: boolean; video: boolean }): Buffer {
  const flags = (tracks.audio ? 4 : 0) | (tracks.video ? 1 : 0);
  return Buffer.from([0x46, 0x4c, 0x56, 1, flags, 0, 0, 0, FILE_HEADER_BYTES, 0, 0, 0, 0]);
}

/** One tag with its back pointer (annex E.4.1). @param timestampMs unsigned 32 bit. */
export function flvTag(typeId: number, timestampMs: number, body: readonly Uint8Array[]): Buffer {
  const bodyBytes = body.reduce((sum, part) => sum + part.length, 0);
  const out = Buffer.alloc(TAG_HEADER_BYTES + bodyBytes + BACK_POINTER_BYTES);
  out[0] = typeId;
  out.writeUIntBE(bodyBytes, 1, 3);
  out.writeUIntBE(timestampMs & 0xffffff, 4, 3);
  out[7] = timestampMs >>> 24;
  let offset = TAG_HEADER_BYTES;
  for (const part of body) {
    out.set(part, offset);
    offset += part.length;
  }
  out.writeUInt32BE(TAG_HEADER_BYTES + bodyBytes, offset);
  return out;
}

/** Body of a video tag with H.264, the reverse of parseFlvVideo. */
export function flvVideoBody(
  video:
    | { packet: 'config'; data: Uint8Array }
    | { packet: 'frame'; key: boolean; compositionMs: number; data: Uint8Array },
): Uint8Array[] {
  const header = Buffer.alloc(5);
  header[0] = ((video.packet === 'config' || video.key ? KEY_FRAME : 2) << 4) | AVC;
  header[1] = video.packet === 'config' ? 0 : 1;
  header.writeIntBE(video.packet === 'config' ? 0 : video.compositionMs, 2, 3);
  return [header, video.data];
}

/** 44 kHz, 16 bit, stereo: what annex E.4.2.1 asks of every AAC stream; the configuration tells the truth. */
const AAC_HEADER = (AAC << 4) | 15;

/** Body of an audio tag with AAC, which parseFlvAudio reads. */
export function flvAudioBody(audio: { packet: FlvAudio['packet']; data: Uint8Array }): Uint8Array[] {
  return [Uint8Array.of(AAC_HEADER, audio.packet === 'config' ? 0 : 1), audio.data];
}

export type FlvTag = { typeId: number; timestampMs: number; body: Buffer };

/** Takes tags out of an FLV byte stream as it arrives. */
export class FlvReader {
  #buffer: Buffer = Buffer.alloc(0);
  #headerSkipped = false;

  /** @throws ServiceError malformed when the stream does not start like FLV. */
  push(bytes: Uint8Array): FlvTag[] {
    this.#buffer = this.#buffer.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#buffer, bytes]);
    const tags: FlvTag[] = [];
    let offset = this.#skipHeader();
    while (this.#headerSkipped && offset + TAG_HEADER_BYTES <= this.#buffer.length) {
      const bodyBytes = this.#buffer.readUIntBE(offset + 1, 3);
      const end = offset + TAG_HEADER_BYTES + bodyBytes + BACK_POINTER_BYTES;
      if (end > this.#buffer.length) {
        break;
      }
      const low = this.#buffer.readUIntBE(offset + 4, 3);
      tags.push({
        typeId: this.#buffer.readUInt8(offset),
        timestampMs: (low | (this.#buffer.readUInt8(offset + 7) << 24)) >>> 0,
        body: this.#buffer.subarray(offset + TAG_HEADER_BYTES, end - BACK_POINTER_BYTES),
      });
      offset = end;
    }
    this.#buffer = this.#buffer.subarray(offset);
    return tags;
  }

  #skipHeader(): number {
    if (this.#headerSkipped || this.#buffer.length < FILE_HEADER_BYTES + BACK_POINTER_BYTES) {
      return 0;
    }
    if (this.#buffer.toString('latin1', 0, 3) !== 'FLV') {
      throw new ServiceError('malformed', 'FLV stream does not start with "FLV"');
    }
    this.#headerSkipped = true;
    return FILE_HEADER_BYTES + BACK_POINTER_BYTES;
  }
}
