import { appendFile, mkdir, open, readFile, writeFile, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { playlistText, segmentLines, type PlaylistSegment } from '../../media/hls/playlist.ts';
import type { SegmentSink } from '../../media/hls/segmenter.ts';

/** Written to disk in pieces of at least this size or age, so that a crash loses little. */
const FLUSH_BYTES = 128_000;
const FLUSH_AFTER_MS = 500;
const MAX_PENDING_BYTES = 64_000_000;

export type SpooledSegment = PlaylistSegment & { file: string; sizeBytes: number };

export type SegmentSpoolOptions = {
  folder: string;
  targetDurationS: number;
  /** Wall clock of session time 0. */
  startedAtMs: number;
  nameOf: (index: number, startedAtMs: number) => string;
  /** The segment and a playlist that lists it are on disk. */
  onClosed: (segment: SpooledSegment) => void;
  /** The disk refuses or does not keep up; nothing more is written. */
  onError: (error: Error) => void;
};

/** Of all closed segments; names are those of the storage. */
export const SPOOL_PLAYLIST = 'spool.m3u8';

export type StoredSegment = { name: string; sizeBytes: number; location: string };
const STORED_LIST = 'stored.jsonl';

/** For whoever has to finish the job: this segment needs no upload. */
export async function noteStored(folder: string, segment: StoredSegment): Promise<void> {
  await appendFile(path.join(folder, STORED_LIST), `${JSON.stringify(segment)}\n`);
}

export async function readStored(folder: string): Promise<Map<string, StoredSegment>> {
  const text = await readFile(path.join(folder, STORED_LIST), 'utf8').catch(() => '');
  // What follows the last line end was cut off while it was written.
  const lines = text.split('\n').slice(0, -1);
  return new Map(
    lines.map((line) => JSON.parse(line) as StoredSegment).map((stored) => [stored.name, stored]),
  );
}

/** Where a segment lies until it is uploaded. */
export function spoolFile(folder: string, name: string): string {
  return path.join(folder, encodeURIComponent(name));
}

/** Segments on the local disk: written as they come, listed once closed. */
export class SegmentSpool implements SegmentSink {
  readonly #options: SegmentSpoolOptions;
  #hasList = false;
  #tail: Promise<void> = Promise.resolve();
  #handle: FileHandle | undefined;
  #opened = 0;
  #name = '';
  #sizeBytes = 0;
  #pieces: Buffer[] = [];
  #pieceBytes = 0;
  #pendingBytes = 0;
  #flushTimer: NodeJS.Timeout | undefined;
  #failed = false;

  constructor(options: SegmentSpoolOptions) {
    this.#options = options;
  }

  open(startUs: number): void {
    const { folder, startedAtMs, nameOf } = this.#options;
    const name = nameOf(this.#opened, startedAtMs + startUs / 1000);
    this.#opened += 1;
    this.#name = name;
    this.#sizeBytes = 0;
    this.#queue(async () => {
      await mkdir(folder, { recursive: true });
      this.#handle = await open(spoolFile(folder, name), 'w');
    });
  }

  append(data: Buffer): void {
    if (this.#failed || data.length === 0) {
      return;
    }
    this.#pieces.push(data);
    this.#pieceBytes += data.length;
    this.#sizeBytes += data.length;
    this.#pendingBytes += data.length;
    if (this.#pendingBytes > MAX_PENDING_BYTES) {
      this.#fail(new Error('the recording disk does not keep up: 64 MB are waiting'));
    } else if (this.#pieceBytes >= FLUSH_BYTES) {
      this.#flush();
    } else {
      this.#flushTimer ??= setTimeout(() => {
        this.#flush();
      }, FLUSH_AFTER_MS);
    }
  }

  close({ startUs, durationUs }: { startUs: number; durationUs: number }): void {
    this.#flush();
    const { folder, startedAtMs } = this.#options;
    const [name, sizeBytes] = [this.#name, this.#sizeBytes];
    const segment = { name, durationUs, startedAtMs: Math.round(startedAtMs + startUs / 1000) };
    this.#queue(async () => {
      await this.#handle?.close();
      this.#handle = undefined;
      await this.#list(segment);
      this.#options.onClosed({ ...segment, file: spoolFile(folder, name), sizeBytes });
    });
  }

  /** Resolves when everything is on disk; never rejects. */
  async settled(): Promise<void> {
    await this.#tail;
  }

  /** Whoever finds the folder after a crash can play it up to here. */
  async #list(segment: PlaylistSegment): Promise<void> {
    const { folder, targetDurationS } = this.#options;
    const file = path.join(folder, SPOOL_PLAYLIST);
    if (!this.#hasList) {
      this.#hasList = true;
      await writeFile(file, playlistText({ kind: 'event', segments: [], targetDurationS, hasEnded: false }));
    }
    await appendFile(file, `${segmentLines(segment).join('\n')}\n`);
  }

  #flush(): void {
    clearTimeout(this.#flushTimer);
    this.#flushTimer = undefined;
    if (this.#pieceBytes === 0) {
      return;
    }
    const pieces = this.#pieces;
    const bytes = this.#pieceBytes;
    this.#pieces = [];
    this.#pieceBytes = 0;
    this.#queue(async () => {
      await this.#handle?.writev(pieces);
      this.#pendingBytes -= bytes;
    });
  }

  #queue(work: () => Promise<void>): void {
    this.#tail = this.#tail.then(async () => {
      if (!this.#failed) {
        await work().catch((error: unknown) => {
          this.#fail(error instanceof Error ? error : new Error(String(error)));
        });
      }
    });
  }

  #fail(error: Error): void {
    if (!this.#failed) {
      this.#failed = true;
      clearTimeout(this.#flushTimer);
      this.#options.onError(error);
    }
  }
}
