/** Bodies of Enhanced RTMP messages, the reverse of parseRtmpVideo and parseRtmpAudio for a single track. */
const FOUR_CC = { h265: 'hvc1', vp8: 'vp08', vp9: 'vp09', av1: 'av01' } as const;
const PACKET = { sequenceStart: 0, codedFrames: 1 } as const;
const ENHANCED_VIDEO_FLAG = 0x80;
const ENHANCED_AUDIO = 9;
const FRAME = { key: 1, inter: 2 } as const;

export type EnhancedVideoCodec = keyof typeof FOUR_CC;

/** @param data the decoder configuration record. */
export function enhancedVideoConfig(codec: EnhancedVideoCodec, data: Uint8Array): Buffer {
  return Buffer.concat([videoHeader(codec, FRAME.key, PACKET.sequenceStart), data]);
}

/** @param compositionMs presentation minus decoding time; only HEVC has one. */
export function enhancedVideoFrame(
  codec: EnhancedVideoCodec,
  frame: { key: boolean; compositionMs: number; data: Uint8Array },
): Buffer {
  const header = videoHeader(codec, frame.key ? FRAME.key : FRAME.inter, PACKET.codedFrames);
  const composition = Buffer.alloc(codec === 'h265' ? 3 : 0);
  if (codec === 'h265') {
    composition.writeIntBE(frame.compositionMs, 0, 3);
  }
  return Buffer.concat([header, composition, frame.data]);
}

/** @param data for the sequence start: the identification header (RFC 7845 section 5.1). */
export function opusBody(packet: 'config' | 'frame', data: Uint8Array): Buffer {
  const type = packet === 'config' ? PACKET.sequenceStart : PACKET.codedFrames;
  return Buffer.concat([Buffer.of((ENHANCED_AUDIO << 4) | type), Buffer.from('Opus', 'latin1'), data]);
}

function videoHeader(codec: EnhancedVideoCodec, frameType: number, packetType: number): Buffer {
  const first = ENHANCED_VIDEO_FLAG | (frameType << 4) | packetType;
  return Buffer.concat([Buffer.of(first), Buffer.from(FOUR_CC[codec], 'latin1')]);
}
