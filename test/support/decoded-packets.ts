import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ivfFrame, ivfHeader } from '../../services/media/ffmpeg/ivf.ts';
import type { EncodedPacket, VideoCodec } from '../../services/model/packet.ts';
import { readBarcode } from './flash-beep.ts';

const FFMPEG = process.env['FFMPEG_PATH'] ?? 'ffmpeg';
const FFPROBE = process.env['FFPROBE_PATH'] ?? 'ffprobe';
const GRAY = { width: 320, height: 180 };

export type DecodedPackets = {
  /** Of every picture, `640x360`; neighbours that are equal count once. */
  sizes: string[];
  /** Bar codes of the flash/beep picture, in the order they are shown. */
  barcodes: number[];
};

/** Decodes what was published of one layer, as it is, and reads the pictures. */
export function decodePackets(codec: VideoCodec, packets: readonly EncodedPacket[]): DecodedPackets {
  const folder = mkdtempSync(path.join(tmpdir(), 'sluice-packets-'));
  const annexB = codec === 'h264' || codec === 'h265';
  const file = path.join(folder, codec === 'h264' ? 'p.h264' : codec === 'h265' ? 'p.h265' : 'p.ivf');
  const startUs = packets[0]?.ptsUs ?? 0;
  try {
    writeFileSync(
      file,
      annexB
        ? Buffer.concat(packets.map(({ data }) => data))
        : Buffer.concat([
            ivfHeader(codec, 640, 360),
            ...packets.map(({ ptsUs, data }) => ivfFrame(ptsUs - startUs, data)),
          ]),
    );
    const listing = execFileSync(
      FFPROBE,
      ['-v', 'error', '-show_entries', 'frame=width,height', '-of', 'csv=p=0:s=x', file],
      { encoding: 'utf8' },
    );
    const sizes = listing.match(/\d+x\d+/g) ?? [];
    const scale = `scale=${GRAY.width}:${GRAY.height}:flags=area,format=gray`;
    const gray = execFileSync(
      FFMPEG,
      ['-v', 'error', '-i', file, '-vsync', 'passthrough', '-vf', scale, '-f', 'rawvideo', '-'],
      { maxBuffer: 1 << 30 },
    );
    const frameBytes = GRAY.width * GRAY.height;
    return {
      sizes: sizes.filter((size, index) => size !== sizes[index - 1]),
      barcodes: Array.from({ length: Math.floor(gray.length / frameBytes) }, (_, index) =>
        readBarcode(gray.subarray(index * frameBytes, (index + 1) * frameBytes)),
      ),
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
