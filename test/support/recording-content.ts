import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);
const RATE_HZ = 48_000;
/** Tones are measured over pieces this long: loops and corrections of the clock change their phase. */
const WINDOW_S = 0.1;
const FRAMES_PER_S = 10;
const GRAY = { width: 32, height: 18 };

export type Sound = {
  durationS: number;
  /** Mean amplitude (0…1) of one frequency on one channel within a span. */
  tone(channel: 'left' | 'right', frequencyHz: number, fromS: number, toS: number): number;
  /** Root mean square of one channel within a span. */
  level(channel: 'left' | 'right', fromS: number, toS: number): number;
};

/** Decodes the sound of a recording; times count from the start of the file. */
export async function readSound(file: string): Promise<Sound> {
  const { stdout } = await run(
    'ffmpeg',
    [
      ...['-v', 'error', '-i', file, '-map', '0:a:0', '-af', 'aresample=async=1:first_pts=0'],
      ...['-ac', '2', '-ar', String(RATE_HZ), '-f', 's16le', '-'],
    ],
    { encoding: 'buffer', maxBuffer: 256_000_000 },
  );
  const total = Math.floor(stdout.length / 4);
  const samples = (channel: 'left' | 'right', fromS: number, toS: number): number[] => {
    const pcm: number[] = [];
    for (let at = Math.floor(fromS * RATE_HZ); at < Math.min(total, Math.floor(toS * RATE_HZ)); at += 1) {
      pcm.push(stdout.readInt16LE(at * 4 + (channel === 'left' ? 0 : 2)) / 32_768);
    }
    return pcm;
  };
  return {
    durationS: total / RATE_HZ,
    tone: (channel, frequencyHz, fromS, toS) => {
      const amplitudes: number[] = [];
      for (let atS = fromS; atS + WINDOW_S <= toS; atS += WINDOW_S) {
        amplitudes.push(amplitude(samples(channel, atS, atS + WINDOW_S), frequencyHz));
      }
      return amplitudes.reduce((sum, value) => sum + value, 0) / Math.max(1, amplitudes.length);
    },
    level: (channel, fromS, toS) => {
      const pcm = samples(channel, fromS, toS);
      return Math.sqrt(pcm.reduce((sum, value) => sum + value * value, 0) / Math.max(1, pcm.length));
    },
  };
}

/** Goertzel. */
function amplitude(pcm: readonly number[], frequencyHz: number): number {
  let [re, im] = [0, 0];
  pcm.forEach((value, index) => {
    const angle = (2 * Math.PI * frequencyHz * index) / RATE_HZ;
    re += value * Math.cos(angle);
    im += value * Math.sin(angle);
  });
  return (2 * Math.hypot(re, im)) / Math.max(1, pcm.length);
}

export type Glimpse = {
  timeS: number;
  /** Mean brightness, 0…255. */
  luma: number;
  /** Difference between the brightest and the darkest spot: 0 for a plain picture. */
  contrast: number;
};

/** Ten looks per second at the picture of a recording. */
export async function readPicture(file: string): Promise<Glimpse[]> {
  const { stdout } = await run(
    'ffmpeg',
    [
      ...['-v', 'error', '-i', file, '-map', '0:v:0'],
      ...['-vf', `fps=${FRAMES_PER_S},scale=${GRAY.width}:${GRAY.height}:flags=area,format=gray`],
      ...['-f', 'rawvideo', '-'],
    ],
    { encoding: 'buffer', maxBuffer: 64_000_000 },
  );
  const bytes = GRAY.width * GRAY.height;
  return Array.from({ length: Math.floor(stdout.length / bytes) }, (_, index) => {
    const frame = stdout.subarray(index * bytes, (index + 1) * bytes);
    const sum = frame.reduce((total, value) => total + value, 0);
    const contrast = Math.max(...frame) - Math.min(...frame);
    return { timeS: index / FRAMES_PER_S, luma: sum / bytes, contrast };
  });
}

/** The span (first, last) in which the picture is black; undefined when it never is. */
export function blackSpan(picture: readonly Glimpse[]): { fromS: number; toS: number } | undefined {
  const black = picture.filter(({ luma, contrast }) => luma < 24 && contrast < 12);
  const [first, last] = [black[0], black.at(-1)];
  return first === undefined || last === undefined ? undefined : { fromS: first.timeS, toS: last.timeS };
}
