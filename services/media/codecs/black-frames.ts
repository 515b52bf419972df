/**
 * One black key frame of 16x16 pixels per codec, made with libvpx and x264: what a decoder is given while there is no
 * picture. H.264 is Annex B with its parameter sets.
 */
export const BLACK_FRAMES: Readonly<Record<'vp8' | 'vp9' | 'h264', Uint8Array>> = {
  vp8: Buffer.from('EAIAnQEqEAAQAABHCIWFiJmEiAICAAwNYAD+/6tQgA==', 'base64'),
  vp9: Buffer.from('gkmDQgAA8AD2ADgkHBhCAAAwYAAAEL///YsqAAA=', 'base64'),
  h264: Buffer.from('AAAAAWdCwArZHsBEAAADAAQAAAMACDxImSAAAAABaMuDyyAAAAFliIQFf///D0UAAULfgA==', 'base64'),
};
