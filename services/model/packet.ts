import type { LayerIndex, LayerSize } from './track.ts';

/**
 * Encoded packets with one session clock are the currency of Sluice: sources yield them, outputs consume
 * them, nothing in between touches raw frames.
 */
export type VideoCodec = 'h264' | 'h265' | 'vp8' | 'vp9' | 'av1';
export type AudioCodec = 'opus' | 'aac' | 'mp3' | 'pcmu' | 'pcma';

/**
 * What a decoder must know before the first packet.
 * H.264/H.265 packets are Annex B access units with parameter sets in front of every key frame;
 * AAC packets are raw (no ADTS) and `description` is the AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1).
 */
export type VideoFormat = {
  kind: 'video';
  codec: VideoCodec;
  width: number;
  height: number;
  /** Simulcast: lowest first, the last one is `width` x `height`. Absent: one layer. */
  layers?: readonly LayerSize[];
};
export type AudioFormat = {
  kind: 'audio';
  codec: AudioCodec;
  sampleRateHz: number;
  channels: number;
  description?: Uint8Array;
};
export type TrackFormat = VideoFormat | AudioFormat;

export type EncodedPacket = {
  kind: 'video' | 'audio';
  /** Presentation time on the session clock, integer microseconds. */
  ptsUs: number;
  /** Decode time; differs from ptsUs only for streams with B-frames. */
  dtsUs: number;
  /** 0 when not known. */
  durationUs: number;
  /** Audio packets are always key. */
  key: boolean;
  /** Of a simulcast track; absent: its highest, or the only one. */
  layer?: LayerIndex;
  data: Uint8Array;
};
