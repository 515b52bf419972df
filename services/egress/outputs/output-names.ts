import type { ValidatedEgress } from '../../model/egress.ts';
import { knownFolder, type FilenameValues } from '../../model/egress-filename.ts';
import type { StorageTarget } from '../../model/egress.ts';
import type { SegmentTarget } from '../../model/egress-plan.ts';
import type { TrackFacts } from '../handler-messages.ts';

/** What placeholders in the names of a job stand for. */
export function filenameValues(
  egress: ValidatedEgress,
  facts: TrackFacts,
  startedAtMs: number,
): FilenameValues {
  const { roomName, roomId, job } = egress;
  const { trackId, publisherIdentity, trackType, trackSource } = facts;
  const names = {
    ...{ template: roomName, web: 'web', track: trackId },
    media: job.kind === 'media' && job.endsWith === 'participant' ? publisherIdentity : roomName,
  };
  return {
    defaultStem: names[job.kind] || roomName || egress.egressId,
    ...{ roomName, roomId, startedAtMs, trackId, publisherIdentity, trackType, trackSource },
  };
}

/** Every folder the job will write to, as far as it is known before media flows. */
export function foldersOf(
  egress: ValidatedEgress,
  values: FilenameValues,
): { storage: StorageTarget; folder: string }[] {
  const { file, segments, images } = egress.outputs;
  const named = [
    ...(file === undefined ? [] : [{ storage: file.storage, name: file.filepath }]),
    ...(segments === undefined ? [] : [{ storage: segments.storage, name: namedFolder(segments) }]),
    ...images.map(({ storage, filenamePrefix }) => ({ storage, name: filenamePrefix })),
  ];
  const folders = named.map(({ storage, name }) => ({ storage, folder: knownFolder(name, values) }));
  const seen = new Map(folders.map((entry) => [JSON.stringify(entry), entry]));
  return [...seen.values()];
}

/** Playlists decide on the folder unless they name none. */
function namedFolder({ playlistName, filenamePrefix }: SegmentTarget): string {
  return playlistName.includes('/') ? playlistName : filenamePrefix;
}
