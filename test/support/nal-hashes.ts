import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { promisify } from 'node:util';

const SLICE = 1;
const IDR_SLICE = 5;

export type CodedPicture = { hash: string; key: boolean };

/**
 * The coded slices of each picture of a file's H.264 track, hashed in decode order. Parameter sets, delimiters and
 * SEI may legally move between a stream and a container; the slices may not change by one bit.
 */
export async function codedPictures(file: string): Promise<CodedPicture[]> {
  const { stdout } = await promisify(execFile)(
    'ffmpeg',
    [
      '-v',
      'error',
      '-i',
      file,
      '-map',
      '0:v:0',
      '-c',
      'copy',
      '-bsf:v',
      'h264_mp4toannexb',
      '-f',
      'h264',
      '-',
    ],
    { encoding: 'buffer', maxBuffer: 512_000_000 },
  );
  const pictures: CodedPicture[] = [];
  let hash = createHash('sha1');
  let key = false;
  let slices = 0;
  const finish = (): void => {
    if (slices > 0) {
      pictures.push({ hash: hash.digest('hex'), key });
    }
    hash = createHash('sha1');
    key = false;
    slices = 0;
  };
  for (const nal of nalUnits(stdout)) {
    const type = (nal[0] ?? 0) & 0x1f;
    if (type !== SLICE && type !== IDR_SLICE) {
      continue;
    }
    // first_mb_in_slice == 0 (a single "1" bit in ue(v)) starts a new picture.
    if (((nal[1] ?? 0) & 0x80) !== 0) {
      finish();
    }
    hash.update(nal);
    key ||= type === IDR_SLICE;
    slices += 1;
  }
  finish();
  return pictures;
}

/** Splits Annex B at its start codes; trailing zeros belong to the start code, not to the unit. */
function* nalUnits(stream: Buffer): Generator<Buffer> {
  const startCode = '\0\0\x01';
  for (let at = stream.indexOf(startCode, 0, 'latin1'); at >= 0;) {
    const start = at + startCode.length;
    const next = stream.indexOf(startCode, start, 'latin1');
    let end = next < 0 ? stream.length : next;
    while (end > start && stream[end - 1] === 0) {
      end -= 1;
    }
    yield stream.subarray(start, end);
    at = next;
  }
}
