function hex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, 'hex'));
}

/** Sequence parameter sets as x264 writes them: 642x362 at 30 fps, `interlaced` 720x576 at 25. */
export const SPS = {
  baseline: hex('6742c01ed900a42fe224c044000003000400000300f03c58b920'),
  mainWithBFrames: hex('674d401eeca05217f1126022000003000200000300781e2c5b2c'),
  high422: hex('677a001ebcb201485fc44f8088000003000800000301e078b17240'),
  high10: hex('676e001ea6cb201485fc44980880000003008000001e078b1724'),
  interlaced: hex('6764001eacd940b424d8088000000300800000190f8a14cb'),
} as const;
