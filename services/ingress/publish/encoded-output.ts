import { IvfReader } from '../../media/ffmpeg/ivf-reader.ts';
import { parseVp8Header } from '../../media/codecs/vp8.ts';
import type { EncodedVideoCodec } from '../../model/ingress.ts';
import { FLV_TAG, FlvReader, parseFlvVideo } from '../../protocol/flv.ts';
import { AccessUnitAssembler } from './access-unit-assembler.ts';

/** One frame of a layer; the time is ffmpeg's. */
export type EncodedFrame = { ptsUs: number; key: boolean; data: Uint8Array };

/** Frames of one of a transcoder's outputs, as its bytes come. @throws ServiceError malformed. */
export type EncodedOutput = (bytes: Buffer) => EncodedFrame[];

export function createEncodedOutput(codec: EncodedVideoCodec): EncodedOutput {
  return codec === 'h264' ? flvOutput() : ivfOutput();
}

function flvOutput(): EncodedOutput {
  const reader = new FlvReader();
  const assembler = new AccessUnitAssembler();
  return (bytes) => {
    const frames: EncodedFrame[] = [];
    for (const tag of reader.push(bytes)) {
      const video = tag.typeId === FLV_TAG.video ? parseFlvVideo(tag.body) : undefined;
      if (video?.packet === 'config') {
        assembler.configure(video.data);
      } else if (video?.packet === 'frame') {
        const unit = assembler.assemble(video.data);
        if (unit !== undefined) {
          frames.push({
            ptsUs: (tag.timestampMs + video.compositionMs) * 1000,
            key: unit.key,
            data: unit.data,
          });
        }
      }
    }
    return frames;
  };
}

function ivfOutput(): EncodedOutput {
  const reader = new IvfReader();
  return (bytes) =>
    reader.push(bytes).map(({ ptsUs, data }) => ({ ptsUs, key: parseVp8Header(data)?.key === true, data }));
}
