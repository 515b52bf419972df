import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { unixNs } from '../../base/clock.ts';
import type { Logger } from '../../base/logger.ts';
import { MIME_BY_EXTENSION, type StorageTarget, type ValidatedEgress } from '../../model/egress.ts';
import type { EgressRecord } from '../egress-record.ts';
import type { TrackFacts } from '../handler-messages.ts';
import type { StoragePool } from '../uploads/storage-pool.ts';

export type ManifestFile = { filename: string; location: string };
export type ManifestPlaylist = { location: string; segments: ManifestFile[] };
export type ManifestImage = { filename: string; timestampNs: bigint; location: string };

/** What a job has stored, by LiveKit's manifest schema: `{egress_id}.json` next to each output that wants it. */
export class Manifest {
  readonly #files: ManifestFile[] = [];
  readonly #playlists: ManifestPlaylist[] = [];
  readonly #images: ManifestImage[] = [];
  readonly #places = new Map<string, { storage: StorageTarget; folder: string }>();

  addFile(file: ManifestFile): void {
    this.#files.push(file);
  }

  addPlaylist(playlist: ManifestPlaylist): void {
    this.#playlists.push(playlist);
  }

  addImage(image: ManifestImage): void {
    this.#images.push(image);
  }

  /** @param folder of the output in its storage; '' = the root. */
  addPlace(storage: StorageTarget, folder: string): void {
    this.#places.set(JSON.stringify([storage, folder]), { storage, folder });
  }

  json(egress: ValidatedEgress, facts: TrackFacts, startedAtNs: bigint, endedAtNs: bigint): string {
    const fields = {
      egress_id: egress.egressId,
      room_id: egress.roomId,
      room_name: egress.roomName,
      url: egress.job.kind === 'web' ? withoutQuery(egress.job.url) : '',
      started_at: startedAtNs,
      ended_at: endedAtNs,
      publisher_identity: facts.publisherIdentity,
      track_id: facts.trackId,
      track_kind: facts.trackType,
      track_source: facts.trackSource,
      audio_track_id: facts.audioTrackId ?? '',
      video_track_id: facts.videoTrackId ?? '',
      files: this.#files,
      playlists: this.#playlists,
      images: this.#images.map(({ filename, timestampNs, location }) => ({
        filename,
        timestamp: timestampNs,
        location,
      })),
    };
    const filled = Object.entries(fields).filter(
      ([, value]) => value !== '' && !(Array.isArray(value) && value.length === 0),
    );
    return toJson(Object.fromEntries(filled));
  }

  /** Never rejects: the recording itself is safe, its description is not worth failing the job. */
  async deliver(options: {
    egress: ValidatedEgress;
    facts: TrackFacts;
    record: EgressRecord;
    storages: StoragePool;
    workDir: string;
    logger: Logger;
  }): Promise<void> {
    const { egress, facts, record, storages, workDir, logger } = options;
    const json = this.json(egress, facts, record.snapshot().startedAt, unixNs());
    const name = `${egress.egressId}.json`;
    let isFirst = true;
    for (const { storage, folder } of this.#places.values()) {
      try {
        const file = path.join(workDir, name);
        await writeFile(file, json);
        const storagePath = path.posix.join(folder, name);
        const mimeType = MIME_BY_EXTENSION.json;
        const { location } = await storages.for(storage).store({ file, storagePath, mimeType });
        if (isFirst) {
          record.setManifest(location);
          isFirst = false;
        }
      } catch (error) {
        logger.error({ err: error }, 'manifest not stored');
      }
    }
  }
}

/** The folder of a path in a storage; '' for its root. */
export function folderOf(storagePath: string): string {
  const folder = path.posix.dirname(storagePath);
  return folder === '.' ? '' : folder;
}

/** Queries of pages carry tokens. */
function withoutQuery(url: string): string {
  const { origin, pathname } = new URL(url);
  return `${origin}${pathname}`;
}

/** Nanoseconds do not fit a JavaScript number: big integers are written as digits by hand. */
function toJson(value: unknown): string {
  if (typeof value === 'bigint') {
    return String(value);
  }
  if (Array.isArray(value)) {
    return `[${value.map(toJson).join(',')}]`;
  }
  if (typeof value === 'object' && value !== null) {
    const fields = Object.entries(value).map(([key, field]) => `${JSON.stringify(key)}:${toJson(field)}`);
    return `{${fields.join(',')}}`;
  }
  return JSON.stringify(value);
}
