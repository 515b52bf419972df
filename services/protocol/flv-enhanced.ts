import { ServiceError } from '../base/errors.ts';
import type { VideoCodec } from '../model/packet.ts';
import {
  fourCcText,
  parseFlvAudio,
  parseFlvVideo,
  type FlvAudioCodec,
  type FlvSound,
  type FlvVideo,
} from './flv.ts';

/** What one video message carries of one track. Several when an encoder sends all its tracks in one message. */
export type RtmpVideo = { codec: VideoCodec; trackId: number; video: FlvVideo };
/** Configuration of Opus: its identification header (RFC 7845 section 5.1); of FLAC: STREAMINFO; AC-3 has none. */
export type RtmpAudioCodec = FlvAudioCodec | 'opus' | 'flac' | 'ac3' | 'eac3';
export type RtmpAudio = Omit<FlvSound, 'codec'> & { codec: RtmpAudioCodec; trackId: number };

/** Enhanced RTMP v2, "Enhanced Video" and "Enhanced Audio": both kinds number their packets almost alike. */
const PACKET = {
  sequenceStart: 0,
  codedFrames: 1,
  sequenceEnd: 2,
  codedFramesX: 3,
  metadata: 4,
  multitrack: 5,
  videoMultitrack: 6,
  modEx: 7,
} as const;
const MULTITRACK = { oneTrack: 0, manyTracks: 1, manyTracksManyCodecs: 2 } as const;
const ENHANCED_VIDEO_FLAG = 0x80;
const ENHANCED_AUDIO = 9;
const KEY_FRAME = 1;
const COMMAND_FRAME = 5;
const MAX_TRACKS = 16;
const MAX_MODIFIERS = 16;

const VIDEO_CODECS: ReadonlyMap<string, VideoCodec> = new Map([
  ['avc1', 'h264'],
  ['hvc1', 'h265'],
  ['vp08', 'vp8'],
  ['vp09', 'vp9'],
  ['av01', 'av1'],
]);
const AUDIO_CODECS: ReadonlyMap<string, RtmpAudioCodec> = new Map<string, RtmpAudioCodec>([
  ['mp4a', 'aac'],
  ['Opus', 'opus'],
  ['.mp3', 'mp3'],
  ['fLaC', 'flac'],
  ['ac-3', 'ac3'],
  ['ec-3', 'eac3'],
]);
/** Codecs whose coded frames begin with a composition time. */
const REORDERED: ReadonlySet<VideoCodec> = new Set<VideoCodec>(['h264', 'h265']);

/**
 * A video message in FLV's old form or in that of Enhanced RTMP. A track above the first with an unknown codec is left
 * out, as a room gets one picture.
 * @returns [] for what carries no picture: keep-alives, commands, metadata.
 * @throws ServiceError unimplemented naming the codec, malformed when it is cut off.
 */
export function parseRtmpVideo(body: Buffer): RtmpVideo[] {
  if (body.length === 0 || ((body[0] ?? 0) & ENHANCED_VIDEO_FLAG) === 0) {
    const video = parseFlvVideo(body);
    return video === undefined ? [] : [{ codec: 'h264', trackId: 0, video }];
  }
  const frameType = ((body[0] ?? 0) >> 4) & 7;
  const reader = new Reader(body, 'video');
  const type = reader.packetType((body[0] ?? 0) & 15);
  if (type === PACKET.metadata || frameType === COMMAND_FRAME) {
    return [];
  }
  return reader.tracks(type, PACKET.videoMultitrack).flatMap(({ trackId, fourCc, packetType, data }) => {
    const codec = VIDEO_CODECS.get(fourCc.toString('latin1'));
    if (codec === undefined) {
      refuseFirst(trackId, 'video', fourCc, 'H.264, HEVC, VP8, VP9 or AV1');
      return [];
    }
    const video = videoPacket(codec, packetType, frameType === KEY_FRAME, data);
    return video === undefined ? [] : [{ codec, trackId, video }];
  });
}

function videoPacket(codec: VideoCodec, type: number, key: boolean, data: Buffer): FlvVideo | undefined {
  switch (type) {
    case PACKET.sequenceStart:
      return { packet: 'config', data };
    case PACKET.codedFrames:
      if (!REORDERED.has(codec)) {
        return { packet: 'frame', key, compositionMs: 0, data };
      }
      if (data.length < 3) {
        throw cutOff('video');
      }
      return { packet: 'frame', key, compositionMs: data.readIntBE(0, 3), data: data.subarray(3) };
    case PACKET.codedFramesX:
      return { packet: 'frame', key, compositionMs: 0, data };
    case PACKET.sequenceEnd:
      return { packet: 'end' };
    default:
      return undefined; // metadata, or a configuration meant for MPEG-TS
  }
}

/** An audio message in either form. @returns [] for what carries no sound. @throws ServiceError as parseRtmpVideo. */
export function parseRtmpAudio(body: Buffer): RtmpAudio[] {
  if (body.length === 0 || (body[0] ?? 0) >> 4 !== ENHANCED_AUDIO) {
    const sound = parseFlvAudio(body);
    return sound === undefined ? [] : [{ ...sound, trackId: 0 }];
  }
  const reader = new Reader(body, 'audio');
  const type = reader.packetType((body[0] ?? 0) & 15);
  return reader.tracks(type, PACKET.multitrack).flatMap(({ trackId, fourCc, packetType, data }) => {
    const codec = AUDIO_CODECS.get(fourCc.toString('latin1'));
    if (codec === undefined) {
      refuseFirst(trackId, 'audio', fourCc, 'AAC, Opus, MP3, FLAC or AC-3');
      return [];
    }
    if (packetType !== PACKET.sequenceStart && packetType !== PACKET.codedFrames) {
      return []; // the end of a sequence, or a channel layout
    }
    const packet = packetType === PACKET.sequenceStart ? 'config' : 'frame';
    return [{ codec, trackId, audio: { packet, data } }];
  });
}

type TrackPacket = { trackId: number; fourCc: Buffer; packetType: number; data: Buffer };

/** The part of the header that picture and sound share. */
class Reader {
  readonly #body: Buffer;
  readonly #kind: 'video' | 'audio';
  #offset = 1;

  constructor(body: Buffer, kind: 'video' | 'audio') {
    this.#body = body;
    this.#kind = kind;
  }

  /** Behind all modifiers (ModEx): their nanoseconds are below what a millisecond clock can use. */
  packetType(first: number): number {
    let type = first;
    for (let count = 0; type === PACKET.modEx; count++) {
      if (count === MAX_MODIFIERS) {
        throw new ServiceError('malformed', `Enhanced RTMP: more than ${MAX_MODIFIERS} modifiers`);
      }
      const short = this.#take(1).readUInt8() + 1;
      this.#take(short === 256 ? this.#take(2).readUInt16BE() + 1 : short);
      type = this.#take(1).readUInt8() & 15;
    }
    return type;
  }

  tracks(type: number, multitrackType: number): TrackPacket[] {
    if (type !== multitrackType) {
      return [{ trackId: 0, fourCc: this.#take(4), packetType: type, data: this.#rest() }];
    }
    const header = this.#take(1).readUInt8();
    const [layout, packetType] = [header >> 4, header & 15];
    if (layout > MULTITRACK.manyTracksManyCodecs || packetType === multitrackType) {
      throw new ServiceError('malformed', `Enhanced RTMP: ${this.#kind} multitrack header ${header}`);
    }
    const shared = layout === MULTITRACK.manyTracksManyCodecs ? undefined : this.#take(4);
    const tracks: TrackPacket[] = [];
    do {
      const fourCc = shared ?? this.#take(4);
      const trackId = this.#take(1).readUInt8();
      const data = layout === MULTITRACK.oneTrack ? this.#rest() : this.#take(this.#take(3).readUIntBE(0, 3));
      tracks.push({ trackId, fourCc, packetType, data });
    } while (this.#offset < this.#body.length && tracks.length < MAX_TRACKS);
    return tracks;
  }

  #rest(): Buffer {
    return this.#take(this.#body.length - this.#offset);
  }

  #take(count: number): Buffer {
    const end = this.#offset + count;
    if (end > this.#body.length) {
      throw cutOff(this.#kind);
    }
    const bytes = this.#body.subarray(this.#offset, end);
    this.#offset = end;
    return bytes;
  }
}

function refuseFirst(trackId: number, kind: string, fourCc: Buffer, instead: string): void {
  if (trackId === 0) {
    throw new ServiceError(
      'unimplemented',
      `${kind} codec not supported: ${fourCcText(fourCc)} of Enhanced RTMP; set the encoder to ${instead}`,
    );
  }
}

function cutOff(kind: string): ServiceError {
  return new ServiceError('malformed', `Enhanced RTMP: ${kind} message is cut off`);
}
