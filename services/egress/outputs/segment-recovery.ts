import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { probeFile } from '../../media/ffmpeg/probe-file.ts';
import { parsePlaylist, type PlaylistSegment } from '../../media/hls/playlist.ts';
import type { SegmentTarget } from '../../model/egress-plan.ts';
import type { EgressRecord } from '../egress-record.ts';
import type { SegmentsSpool } from '../handler-messages.ts';
import type { Logger } from '../../base/logger.ts';
import type { Storage } from '../uploads/storage.ts';
import type { Manifest } from './manifest.ts';
import { SegmentDelivery } from './segment-delivery.ts';
import { inStorage } from './segment-names.ts';
import { readStored, SPOOL_PLAYLIST, spoolFile } from './segment-spool.ts';

export type SegmentRecoveryOptions = {
  target: SegmentTarget;
  spool: SegmentsSpool;
  record: EgressRecord;
  manifest: Manifest;
  storage: Storage;
  /** '' = none. */
  ffprobePath: string;
  rescueDir: string;
  logger: Logger;
};

/**
 * Stores what a dead handler left: closed segments that were waiting, the one it was writing, and both playlists with
 * their end. What the storage refuses is kept below `rescueDir`.
 * @throws ServiceError when nothing was recorded.
 */
export async function recoverSegments(options: SegmentRecoveryOptions): Promise<void> {
  const { spool, rescueDir, logger } = options;
  const delivery = new SegmentDelivery(options);
  const closed = parsePlaylist(
    await readFile(path.join(spool.folder, SPOOL_PLAYLIST), 'utf8').catch(() => ''),
  );
  const open = await openSegment(options, closed);
  try {
    await storeAll(options, delivery, [...closed, ...open]);
    await delivery.finish();
  } catch (error) {
    logger.error({ err: error, rescueDir }, 'segments of a dead handler refused by their storage, kept here');
    const kept = new SegmentDelivery(options);
    kept.divert(rescueDir);
    await storeAll(options, kept, [...closed, ...open]);
    await kept.finish();
  }
}

async function storeAll(
  { spool }: SegmentRecoveryOptions,
  delivery: SegmentDelivery,
  segments: readonly PlaylistSegment[],
): Promise<void> {
  const stored = await readStored(spool.folder);
  for (const segment of segments) {
    const waiting = await stat(spoolFile(spool.folder, segment.name)).catch(() => undefined);
    if (waiting === undefined) {
      const { sizeBytes = 0, location = inStorage(spool.names, segment.name) } =
        stored.get(segment.name) ?? {};
      delivery.addStored(segment, sizeBytes, location);
    } else {
      await delivery.storeSegment(segment, waiting.size);
    }
  }
}

/** The segment that was being written is on disk and in no list. */
async function openSegment(
  { spool, target, ffprobePath }: SegmentRecoveryOptions,
  closed: readonly PlaylistSegment[],
): Promise<PlaylistSegment[]> {
  const listed = new Set(closed.map(({ name }) => name));
  const names = (await readdir(spool.folder).catch(() => []))
    .map((file) => decodeURIComponent(file))
    .filter((name) => name.endsWith('.ts') && !listed.has(name));
  const [name] = names.sort();
  if (name === undefined) {
    return [];
  }
  const file = spoolFile(spool.folder, name);
  const probed = ffprobePath === '' ? undefined : await probeFile(ffprobePath, file).catch(() => undefined);
  const durationUs = probed?.durationUs ?? target.segmentDurationS * 1e6;
  const last = closed.at(-1);
  const startedAtMs =
    last === undefined ? spool.startedAtMs : last.startedAtMs + Math.round(last.durationUs / 1000);
  return durationUs === 0 ? [] : [{ name, durationUs, startedAtMs }];
}
