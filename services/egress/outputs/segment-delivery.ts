import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { unixNs } from '../../base/clock.ts';
import { ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { playlistText, type PlaylistSegment } from '../../media/hls/playlist.ts';
import { MIME_BY_EXTENSION } from '../../model/egress.ts';
import type { SegmentTarget } from '../../model/egress-plan.ts';
import type { EgressRecord } from '../egress-record.ts';
import type { SegmentsSpool } from '../handler-messages.ts';
import { localStorage } from '../uploads/local.ts';
import type { Storage } from '../uploads/storage.ts';
import type { Manifest, ManifestFile } from './manifest.ts';
import { inStorage } from './segment-names.ts';
import { noteStored, spoolFile } from './segment-spool.ts';

const HOUR_MS = 3_600_000;
/** The main playlist is never older than this. */
const MAIN_PLAYLIST_AGE_MS = 60_000;

export type SegmentDeliveryOptions = {
  target: SegmentTarget;
  spool: SegmentsSpool;
  record: EgressRecord;
  manifest: Manifest;
  storage: Storage;
  logger: Logger;
};

/** Brings closed segments and the playlists that list them to their storage, and fills record and manifest. */
export class SegmentDelivery {
  readonly #options: SegmentDeliveryOptions;
  readonly #stored: PlaylistSegment[] = [];
  readonly #manifestSegments: ManifestFile[] = [];
  #storage: Storage;
  #folder: string;
  #sizeBytes = 0;
  #sinceMainPlaylist = 0;
  #mainPlaylistAtMs = 0;
  #playlistLocation = '';
  #livePlaylistLocation = '';

  constructor(options: SegmentDeliveryOptions) {
    this.#options = options;
    this.#storage = options.storage;
    this.#folder = options.spool.names.folder;
    this.#fillRecord(0n);
  }

  /** Counts a segment of a dead handler that had been stored before. */
  addStored(segment: PlaylistSegment, sizeBytes: number, location: string): void {
    this.#stored.push(segment);
    this.#sizeBytes += sizeBytes;
    this.#manifestSegments.push({ filename: inStorage(this.#options.spool.names, segment.name), location });
  }

  /** @throws ServiceError of the storage; may be called again then. */
  async storeSegment(segment: PlaylistSegment, sizeBytes: number): Promise<void> {
    const file = spoolFile(this.#options.spool.folder, segment.name);
    const location = await this.#store(file, segment.name, 'ts');
    this.addStored(segment, sizeBytes, location);
    await noteStored(this.#options.spool.folder, { name: segment.name, sizeBytes, location });
    this.#sinceMainPlaylist += 1;
    this.#fillRecord(0n);
  }

  /** The live playlist after every segment, the main one less often the longer it gets. */
  async storePlaylists(): Promise<void> {
    const { livePlaylist } = this.#options.spool.names;
    if (livePlaylist !== '') {
      this.#livePlaylistLocation = await this.#storePlaylist(livePlaylist, 'live', false);
    }
    const hours = Math.floor((Date.now() - this.#options.spool.startedAtMs) / HOUR_MS);
    const isOld = performance.now() - this.#mainPlaylistAtMs >= MAIN_PLAYLIST_AGE_MS;
    if (this.#sinceMainPlaylist > hours || isOld) {
      await this.#storeMainPlaylist(false);
    }
    this.#fillRecord(0n);
  }

  /** Both playlists with their end. @throws ServiceError of the storage, or when there is no segment. */
  async finish(): Promise<void> {
    const { target, spool, manifest, logger } = this.#options;
    const { livePlaylist, folder } = spool.names;
    if (this.#stored.length === 0) {
      throw new ServiceError('internal', 'nothing was recorded: no media arrived before the end');
    }
    if (livePlaylist !== '') {
      this.#livePlaylistLocation = await this.#storePlaylist(livePlaylist, 'live', true);
    }
    await this.#storeMainPlaylist(true);
    this.#fillRecord(unixNs());
    manifest.addPlaylist({ location: this.#playlistLocation, segments: this.#manifestSegments });
    if (!target.disableManifest) {
      manifest.addPlace(target.storage, folder);
    }
    logger.info({ location: this.#playlistLocation, segments: this.#stored.length }, 'segments stored');
  }

  /** From now on everything goes below `rescueDir`, which keeps what the storage refuses. */
  divert(rescueDir: string): void {
    this.#storage = localStorage({ kind: 'local', rootDir: rescueDir });
    this.#folder = '';
  }

  async #storeMainPlaylist(hasEnded: boolean): Promise<void> {
    const isFirst = this.#playlistLocation === '';
    const { spool, record } = this.#options;
    this.#playlistLocation = await this.#storePlaylist(spool.names.playlist, 'event', hasEnded);
    this.#mainPlaylistAtMs = performance.now();
    this.#sinceMainPlaylist = 0;
    if (isFirst && !hasEnded) {
      // Players may start: whoever lists the job can now find the playlist.
      this.#fillRecord(0n);
      record.publish();
    }
  }

  async #storePlaylist(name: string, kind: 'event' | 'live', hasEnded: boolean): Promise<string> {
    const { spool, target } = this.#options;
    const file = path.join(spool.folder, 'upload.m3u8');
    const text = playlistText({
      ...{ kind, hasEnded },
      segments: this.#stored,
      targetDurationS: target.segmentDurationS,
    });
    await writeFile(file, text);
    return this.#store(file, name, 'm3u8');
  }

  async #store(file: string, name: string, extension: 'ts' | 'm3u8'): Promise<string> {
    const { location } = await this.#storage.store({
      file,
      storagePath: `${this.#folder}${name}`,
      mimeType: MIME_BY_EXTENSION[extension],
    });
    return location;
  }

  #fillRecord(endedAtNs: bigint): void {
    const { spool, record } = this.#options;
    const { names, startedAtMs } = spool;
    const [first] = this.#stored;
    record.setSegments({
      playlistName: inStorage(names, names.playlist),
      livePlaylistName: names.livePlaylist === '' ? '' : inStorage(names, names.livePlaylist),
      playlistLocation: this.#playlistLocation,
      livePlaylistLocation: this.#livePlaylistLocation,
      segments: this.#stored.length,
      sizeBytes: this.#sizeBytes,
      durationUs: this.#stored.reduce((sum, { durationUs }) => sum + durationUs, 0),
      startedAtNs: BigInt(Math.round(first?.startedAtMs ?? startedAtMs)) * 1_000_000n,
      endedAtNs,
    });
  }
}
