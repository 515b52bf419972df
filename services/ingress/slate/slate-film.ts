import { access, constants } from 'node:fs/promises';
import path from 'node:path';
import { ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { exitError, spawnFfmpeg } from '../../media/ffmpeg/run.ts';
import { FLV_TAG, FlvReader } from '../../protocol/flv.ts';
import type { SlateSettings } from './slate-choice.ts';

/** An encoder's video messages: a sequence header, then frames from a key frame on. Played over and over. */
export type SlateFilm = {
  header: Buffer;
  frames: readonly { atMs: number; body: Buffer }[];
  /** After this it starts again. */
  durationMs: number;
};

export type PictureSize = { width: number; height: number };

const STILL_SUFFIXES: ReadonlySet<string> = new Set(['.png', '.jpg', '.jpeg', '.webp', '.bmp']);
/** A still needs no more, and new viewers wait for a key frame. */
const STILL = { framesPerSecond: 5, seconds: 2 } as const;
const CLIP = { framesPerSecond: 25, maxSeconds: 30 } as const;
const MAX_BYTES = 32_000_000;
const ENCODE_TIMEOUT_MS = 60_000;

/** Encodes each slate once per picture size, in the form RTMP encoders send. */
export class SlateFilms {
  readonly #ffmpegPath: string;
  readonly #logger: Logger;
  readonly #films = new Map<string, Promise<SlateFilm>>();

  constructor(options: { ffmpegPath: string; logger: Logger }) {
    this.#ffmpegPath = options.ffmpegPath;
    this.#logger = options.logger;
  }

  /** @throws ServiceError naming the file that ffmpeg could not read; the next call tries again. */
  film(file: string, size: PictureSize): Promise<SlateFilm> {
    const key = `${size.width}x${size.height} ${file}`;
    const known = this.#films.get(key);
    if (known !== undefined) {
      return known;
    }
    const film = this.#encode(file, size);
    this.#films.set(key, film);
    film.catch(() => this.#films.delete(key));
    return film;
  }

  async #encode(file: string, size: PictureSize): Promise<SlateFilm> {
    const startedMs = Date.now();
    const isStill = STILL_SUFFIXES.has(path.extname(file).toLowerCase());
    const { framesPerSecond } = isStill ? STILL : CLIP;
    const ffmpeg = spawnFfmpeg({
      ffmpegPath: this.#ffmpegPath,
      args: slateArgs(file, isStill, size),
      logger: this.#logger,
      signal: AbortSignal.timeout(ENCODE_TIMEOUT_MS),
    });
    ffmpeg.stdin.end();
    const chunks: Buffer[] = [];
    let bytes = 0;
    ffmpeg.stdout.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > MAX_BYTES) {
        void ffmpeg.kill();
      } else {
        chunks.push(chunk);
      }
    });
    const exit = await ffmpeg.exited;
    const tooLarge = bytes > MAX_BYTES;
    if (tooLarge || exit.killed) {
      const why = tooLarge ? 'is too long or too detailed' : `took more than ${ENCODE_TIMEOUT_MS / 1000} s`;
      throw new ServiceError('invalid_argument', `slate ${file} ${why}; use a shorter clip or an image`);
    }
    const error = exitError(exit, `slate ${file}`);
    if (error !== undefined) {
      throw error;
    }
    const film = readFilm(Buffer.concat(chunks), 1000 / framesPerSecond);
    if (film === undefined) {
      throw new ServiceError('invalid_argument', `slate ${file} has no picture`);
    }
    this.#logger.info({ ...size, frames: film.frames.length, ms: Date.now() - startedMs }, 'slate encoded');
    return film;
  }
}

/** @throws ServiceError invalid_argument naming the first file that cannot be read, or a default that is not there. */
export async function checkSlates({ files, byDefault }: SlateSettings): Promise<void> {
  if (byDefault !== '' && !Object.hasOwn(files, byDefault)) {
    throw new ServiceError('invalid_argument', `ingress.slate: "${byDefault}" is not in ingress.slates`, {
      scope: 'node',
    });
  }
  for (const [name, file] of Object.entries(files)) {
    await access(file, constants.R_OK).catch((error: unknown) => {
      throw new ServiceError('invalid_argument', `ingress.slates.${name}: ${file} cannot be read`, {
        ...{ scope: 'node', cause: error },
      });
    });
  }
}

/** The whole picture inside the encoder's, with black bars; no B-frames, a key frame at least every 2 s. */
function slateArgs(file: string, isStill: boolean, { width, height }: PictureSize): string[] {
  const { framesPerSecond } = isStill ? STILL : CLIP;
  const input = isStill ? ['-loop', '1', '-framerate', String(framesPerSecond)] : [];
  const filters = [
    `scale=${width}:${height}:force_original_aspect_ratio=decrease:force_divisible_by=2`,
    `pad=${width}:${height}:(ow-iw)/2:(oh-ih)/2`,
    `fps=${framesPerSecond}`,
    'setsar=1',
    'format=yuv420p',
  ];
  return [
    ...['-v', 'error', ...input, '-i', file, '-map', '0:v:0', '-an'],
    ...['-t', String(isStill ? STILL.seconds : CLIP.maxSeconds), '-vf', filters.join(',')],
    ...['-c:v', 'libx264', '-preset', 'veryfast', '-tune', 'zerolatency', '-profile:v', 'baseline'],
    ...['-crf', '23', '-maxrate', '2500k', '-bufsize', '2500k', '-g', String(2 * framesPerSecond)],
    ...['-f', 'flv', '-flvflags', 'no_duration_filesize', 'pipe:1'],
  ];
}

function readFilm(flv: Buffer, frameMs: number): SlateFilm | undefined {
  const [header, ...frames] = new FlvReader().push(flv).filter(({ typeId }) => typeId === FLV_TAG.video);
  const [first] = frames;
  const last = frames.at(-1);
  if (header === undefined || first === undefined || last === undefined) {
    return undefined;
  }
  return {
    header: header.body,
    // AVC packet type 2 says that there is no more, which is not true of a loop.
    frames: frames
      .filter(({ body }) => body[1] === 1)
      .map(({ timestampMs, body }) => ({ atMs: timestampMs - first.timestampMs, body })),
    durationMs: Math.round(last.timestampMs - first.timestampMs + frameMs),
  };
}
