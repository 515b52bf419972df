function hex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, 'hex'));
}

/** Sequence parameter sets as x265 writes them, 640x360 at 30 fps. */
export const HEVC_SPS = {
  main: hex('42010101600000030090000003000003003fa0050201696592a4932bc05a020000030002000003003c10'),
  mainWithBFrames: hex(
    '42010101600000030090000003000003003fa0050201696595964932bc05a020000003002000000303c1',
  ),
  main10: hex('42010102200000030090000003000003003fa00502016936592a4932bc05a020000003002000000303c1'),
  gray: hex('4201010408000003009fc800000300003fc0140805a5964a924caf016c08000003000800000300f040'),
  main422: hex('4201010408000003009d0800000300003fb0050201696592a4932bc05a020000030002000003003c10'),
  main444: hex('4201010408000003009e0800000300003f9000a0402d2cb2549265780b4040000003004000000782'),
  interlaced: hex('42010101600000030040000003000003003fa0050201696592a4932bc05a1a0000030002000003003c10'),
} as const;

/** HEVCDecoderConfigurationRecord with this sequence parameter set and 4-byte lengths. */
export function hevcConfig(sps: Uint8Array): Buffer {
  const header = Buffer.alloc(23);
  header[0] = 1;
  header[21] = 3;
  header[22] = 1;
  return Buffer.concat([header, Buffer.from([33, 0, 1, sps.length >> 8, sps.length & 0xff]), sps]);
}
