import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Mean red, green and blue of a w×h area around a point (shares of width and height) in the frame at `atS`. */
export async function meanColour(
  file: string,
  atS: number,
  point: { x: number; y: number },
): Promise<[number, number, number]> {
  const { stdout } = await run(
    process.env['FFMPEG_PATH'] ?? 'ffmpeg',
    [
      ...['-v', 'error', ...(atS === 0 ? [] : ['-ss', String(atS)]), '-i', file, '-frames:v', '1'],
      ...['-vf', `crop=32:32:iw*${point.x}-16:ih*${point.y}-16,scale=1:1:flags=area,format=rgb24`],
      ...['-f', 'rawvideo', '-'],
    ],
    { encoding: 'buffer' },
  );
  return [stdout[0] ?? -1, stdout[1] ?? -1, stdout[2] ?? -1];
}

/** Encoding to limited-range YUV and back moves colours a little. */
export function isNear(actual: readonly number[], expected: readonly number[], tolerance = 14): boolean {
  return expected.every((value, channel) => Math.abs(value - (actual[channel] ?? -999)) <= tolerance);
}
