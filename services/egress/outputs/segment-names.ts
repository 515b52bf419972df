import path from 'node:path';
import { ServiceError } from '../../base/errors.ts';
import {
  defaultName,
  expandTemplate,
  utcTime,
  withoutKnownExtension,
  type FilenameValues,
} from '../../model/egress-filename.ts';
import type { SegmentTarget } from '../../model/egress-plan.ts';

/** Names of an HLS output; segments are named relative to the playlists, which share one folder. */
export type SegmentNames = {
  /** '' = the root of the storage. */
  folder: string;
  playlist: string;
  /** '' = none. */
  livePlaylist: string;
  segmentPrefix: string;
};

/** @throws ServiceError invalid_argument when the two playlists do not go together. */
export function segmentNames(target: SegmentTarget, values: FilenameValues): SegmentNames {
  const playlist = split(expandTemplate(target.playlistName, values));
  const live = split(expandTemplate(target.livePlaylistName, values));
  const prefix = split(expandTemplate(target.filenamePrefix, values), false);
  const folder = playlist.folder === '' ? prefix.folder : playlist.folder;
  const inFolder = prefix.folder.startsWith(folder) ? prefix.folder.slice(folder.length) : prefix.folder;
  const playlistStem = playlist.stem || prefix.stem || defaultName(values);
  if (live.folder !== '' && live.folder !== folder) {
    throw invalid('live_playlist_name must be in the same directory as playlist_name');
  }
  if (live.stem === playlistStem) {
    throw invalid('live_playlist_name cannot be identical to playlist_name');
  }
  return {
    folder,
    playlist: `${playlistStem}.m3u8`,
    livePlaylist: live.stem === '' ? '' : `${live.stem}.m3u8`,
    segmentPrefix: `${inFolder}${prefix.stem || playlistStem}`,
  };
}

/** `{prefix}_00001.ts`, or `{prefix}_20060102150405067.ts`. */
export function segmentName(
  names: SegmentNames,
  suffix: SegmentTarget['suffix'],
  index: number,
  startedAtMs: number,
): string {
  const tail = suffix === 'timestamp' ? utcTime(Math.round(startedAtMs)) : String(index).padStart(5, '0');
  return `${names.segmentPrefix}_${tail}.ts`;
}

/** Path of a playlist or segment in the storage. */
export function inStorage(names: SegmentNames, name: string): string {
  return `${names.folder}${name}`;
}

function split(filepath: string, hasExtension = true): { folder: string; stem: string } {
  const end = filepath.lastIndexOf('/') + 1;
  const name = filepath.slice(end);
  return {
    folder: end === 0 ? '' : path.posix.normalize(filepath.slice(0, end)),
    stem: hasExtension ? withoutKnownExtension(name) : name,
  };
}

function invalid(text: string): ServiceError {
  return new ServiceError('invalid_argument', `request has missing or invalid field: ${text}`);
}
