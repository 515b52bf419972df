import type { VideoCodec } from '../../model/packet.ts';
import { H264Bitstream } from './h264-bitstream.ts';
import { createOtherBitstream } from './other-bitstream.ts';

/** What a stream's own headers say of it. */
export type StreamHeader = {
  width: number;
  height: number;
  /** Undefined when the stream does not tell. */
  framerate?: number | undefined;
  /** Why no browser could show it as it is. */
  obstacle?: string | undefined;
  /** Whether pictures are shown in another order than they come; undefined when the stream leaves it open. */
  reordering: boolean | undefined;
};

export type CodedPicture = {
  key: boolean;
  /** As decoders and packetizers take it: Annex B with all parameter sets in front of a key frame, temporal units. */
  data: Uint8Array;
  /** H.264 only: `data` without the parameter sets that a key frame repeats. */
  nals: readonly Uint8Array[];
};
/** With its times on the session clock. */
export type SourceFrame = CodedPicture & { dtsUs: number; ptsUs: number };

/** What FLV leaves out of a stream is put back; its headers are read on the way. */
export type VideoBitstream = {
  readonly codec: VideoCodec;
  /** Another object after every change; undefined before the stream has told. */
  readonly header: StreamHeader | undefined;
  /** H.264's, for a decoder that gets no others. */
  readonly parameterSets?: { sps: Uint8Array[]; pps: Uint8Array[] };
  /** The sequence start. @throws ServiceError malformed */
  configure(data: Uint8Array): void;
  /** Takes `data` over. Undefined before it can be decoded. @throws ServiceError malformed */
  complete(data: Uint8Array, key: boolean): CodedPicture | undefined;
};

export function createVideoBitstream(codec: VideoCodec): VideoBitstream {
  return codec === 'h264' ? new H264Bitstream() : createOtherBitstream(codec);
}
