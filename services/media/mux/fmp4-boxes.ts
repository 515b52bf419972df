import { ServiceError } from '../../base/errors.ts';
import { buildAvcConfig } from '../codecs/h264-avcc.ts';
import type { AudioFormat, TrackFormat, VideoFormat } from '../../model/packet.ts';

/** ISO base media file format boxes (ISO/IEC 14496-12), as far as fragmented recordings need them. */

export type ParameterSets = { sps: Uint8Array; pps: Uint8Array };
export type Fmp4Track = {
  id: number;
  timescaleHz: number;
  format: TrackFormat;
  /** H.264 only. */
  parameterSets?: ParameterSets;
};
export type Fmp4Sample = {
  data: Uint8Array;
  key: boolean;
  /** Track timescale units. */
  duration: number;
  compositionOffset: number;
};
export type TrackRun = { track: Fmp4Track; decodeTime: number; samples: readonly Fmp4Sample[] };

const IDENTITY_MATRIX = Buffer.concat(
  [0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000].map((value) => u32(value)),
);

export function fileHeader(tracks: readonly Fmp4Track[]): Buffer {
  const ftyp = box('ftyp', ascii('isom'), u32(512), ascii('isomiso2iso6mp41'));
  const movieHeader = fullBox(
    'mvhd',
    0,
    0,
    ...[u32(0), u32(0), u32(1000), u32(0), u32(0x10000), u16(0x100), Buffer.alloc(10)],
    ...[IDENTITY_MATRIX, Buffer.alloc(24), u32(Math.max(...tracks.map((track) => track.id)) + 1)],
  );
  const extends_ = tracks.map((track) =>
    fullBox('trex', 0, 0, u32(track.id), u32(1), u32(0), u32(0), u32(0)),
  );
  return Buffer.concat([ftyp, box('moov', movieHeader, ...tracks.map(trackBox), box('mvex', ...extends_))]);
}

/** moof + mdat. Every sample carries its own size, duration and flags; runs may be empty for silent tracks. */
export function fragment(sequenceNumber: number, runs: readonly TrackRun[]): Buffer {
  const filled = runs.filter((run) => run.samples.length > 0);
  const moofSize = movieFragment(sequenceNumber, filled, 0).length;
  const payloads = filled.flatMap((run) => run.samples.map((sample) => sample.data));
  const payloadBytes = payloads.reduce((sum, data) => sum + data.length, 0);
  return Buffer.concat([
    movieFragment(sequenceNumber, filled, moofSize + 8),
    u32(payloadBytes + 8),
    ascii('mdat'),
    ...payloads,
  ]);
}

function movieFragment(sequenceNumber: number, runs: readonly TrackRun[], dataStart: number): Buffer {
  let dataOffset = dataStart;
  const trackFragments = runs.map((run) => {
    const samples = run.samples.map((sample) =>
      Buffer.concat([
        u32(sample.duration),
        u32(sample.data.length),
        u32(sample.key ? 0x02000000 : 0x01010000),
        i32(sample.compositionOffset),
      ]),
    );
    const trun = fullBox('trun', 1, 0x000f01, u32(run.samples.length), u32(dataOffset), ...samples);
    dataOffset += run.samples.reduce((sum, sample) => sum + sample.data.length, 0);
    return box(
      'traf',
      fullBox('tfhd', 0, 0x020000, u32(run.track.id)),
      fullBox('tfdt', 1, 0, u64(run.decodeTime)),
      trun,
    );
  });
  return box('moof', fullBox('mfhd', 0, 0, u32(sequenceNumber)), ...trackFragments);
}

function trackBox(track: Fmp4Track): Buffer {
  const { format } = track;
  const isVideo = format.kind === 'video';
  const header = fullBox(
    'tkhd',
    0,
    3,
    ...[u32(0), u32(0), u32(track.id), u32(0), u32(0), Buffer.alloc(8), u16(0), u16(0)],
    ...[u16(isVideo ? 0 : 0x100), u16(0), IDENTITY_MATRIX],
    ...[u32(isVideo ? format.width * 0x10000 : 0), u32(isVideo ? format.height * 0x10000 : 0)],
  );
  const handler = fullBox(
    'hdlr',
    0,
    0,
    ...[u32(0), ascii(isVideo ? 'vide' : 'soun'), Buffer.alloc(12)],
    ascii(isVideo ? 'video\0' : 'audio\0'),
  );
  const mediaHeader = isVideo
    ? fullBox('vmhd', 0, 1, Buffer.alloc(8))
    : fullBox('smhd', 0, 0, Buffer.alloc(4));
  const dataInfo = box('dinf', fullBox('dref', 0, 0, u32(1), fullBox('url ', 0, 1)));
  const sampleTable = box(
    'stbl',
    fullBox('stsd', 0, 0, u32(1), sampleEntry(track)),
    fullBox('stts', 0, 0, u32(0)),
    fullBox('stsc', 0, 0, u32(0)),
    fullBox('stsz', 0, 0, u32(0), u32(0)),
    fullBox('stco', 0, 0, u32(0)),
  );
  return box(
    'trak',
    header,
    box(
      'mdia',
      fullBox('mdhd', 0, 0, u32(0), u32(0), u32(track.timescaleHz), u32(0), u16(0x55c4), u16(0)),
      handler,
      box('minf', mediaHeader, dataInfo, sampleTable),
    ),
  );
}

function sampleEntry(track: Fmp4Track): Buffer {
  const { format } = track;
  return format.kind === 'video' ? videoEntry(format, track.parameterSets) : audioEntry(format);
}

function videoEntry(format: VideoFormat, parameterSets: ParameterSets | undefined): Buffer {
  if (format.codec !== 'h264' || parameterSets === undefined) {
    throw new ServiceError('unimplemented', `MP4 recordings hold H.264 video, not ${format.codec}`);
  }
  const avcC = box('avcC', buildAvcConfig([parameterSets.sps], [parameterSets.pps]));
  return box(
    'avc1',
    ...[Buffer.alloc(6), u16(1), Buffer.alloc(16), u16(format.width), u16(format.height)],
    ...[u32(0x480000), u32(0x480000), u32(0), u16(1), Buffer.alloc(32), u16(0x18), u16(0xffff)],
    avcC,
  );
}

function audioEntry(format: AudioFormat): Buffer {
  const head = [Buffer.alloc(6), u16(1), Buffer.alloc(8), u16(format.channels), u16(16), u32(0)];
  const rate = u32((format.sampleRateHz > 0xffff ? 0 : format.sampleRateHz) * 0x10000);
  switch (format.codec) {
    case 'aac':
      return box('mp4a', ...head, rate, elementaryStream(format.description ?? new Uint8Array()));
    case 'opus':
      return box('Opus', ...head, rate, opusSpecific(format));
    case 'mp3':
    case 'pcmu':
    case 'pcma':
      throw new ServiceError('unimplemented', `MP4 recordings hold AAC or Opus audio, not ${format.codec}`);
  }
}

/** Encapsulation of Opus in ISOBMFF 4.3.2. A live stream has no encoder delay to skip. */
function opusSpecific(format: AudioFormat): Buffer {
  return box(
    'dOps',
    Buffer.from([0, format.channels]),
    u16(0),
    u32(format.sampleRateHz),
    u16(0),
    Buffer.from([0]),
  );
}

/** ISO/IEC 14496-14 esds with an AAC DecoderConfigDescriptor. */
function elementaryStream(audioSpecificConfig: Uint8Array): Buffer {
  const specific = descriptor(5, audioSpecificConfig);
  const decoderConfig = descriptor(
    4,
    Buffer.concat([Buffer.from([0x40, 0x15, 0, 0, 0]), u32(0), u32(0), specific]),
  );
  const streamConfig = descriptor(6, Buffer.from([2]));
  return fullBox(
    'esds',
    0,
    0,
    descriptor(3, Buffer.concat([u16(1), Buffer.from([0]), decoderConfig, streamConfig])),
  );
}

function descriptor(tag: number, payload: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([tag, payload.length]), payload]);
}

function box(type: string, ...payload: readonly Uint8Array[]): Buffer {
  const size = payload.reduce((sum, part) => sum + part.length, 8);
  return Buffer.concat([u32(size), ascii(type), ...payload]);
}

function fullBox(type: string, version: number, flags: number, ...payload: readonly Uint8Array[]): Buffer {
  return box(type, u32(version * 0x1000000 + flags), ...payload);
}

function ascii(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

function u16(value: number): Buffer {
  const out = Buffer.alloc(2);
  out.writeUInt16BE(value);
  return out;
}

function u32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeUInt32BE(value);
  return out;
}

function i32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeInt32BE(value);
  return out;
}

function u64(value: number): Buffer {
  const out = Buffer.alloc(8);
  out.writeBigUInt64BE(BigInt(value));
  return out;
}
