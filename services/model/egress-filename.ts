import path from 'node:path';
import type { FileKind } from './egress.ts';

/** Known extensions that are replaced when they do not fit the file. */
const KNOWN_EXTENSIONS = new Set([
  '.mp4',
  '.ogg',
  '.mp3',
  '.webm',
  '.ts',
  '.ivf',
  '.m3u8',
  '.jpeg',
  '.jpg',
  '.mkv',
]);

export type FilenameValues = {
  /** What a file is called that the request gives no name: room, "web", identity or track. */
  defaultStem: string;
  roomName: string;
  roomId: string;
  /** Track egress only; '' elsewhere. */
  trackId: string;
  publisherIdentity: string;
  trackType: string;
  trackSource: string;
  startedAtMs: number;
};

/**
 * Storage path of a recording: placeholders filled in, default name added, leading `../` taken off, the extension
 * made to fit. Values never add folders: a room named "a/b" becomes "a_b".
 */
export function expandFilepath(template: string, values: FilenameValues, kind: FileKind): string {
  const filled = stripParents(fillPlaceholders(template, values));
  const withName = filled === '' || filled.endsWith('/') ? filled + defaultName(values) : filled;
  return withExtension(withName, kind);
}

/** `{room_name | "web" | identity | track_id}-{time}` */
export function defaultName(values: FilenameValues): string {
  return `${asPathPart(values.defaultStem)}-${localTime(values.startedAtMs)}`;
}

/** Placeholders filled in, leading `../` taken off; nothing is added. */
export function expandTemplate(template: string, values: FilenameValues): string {
  return stripParents(fillPlaceholders(template, values));
}

/** Without an extension that is known and would not fit. */
export function withoutKnownExtension(filepath: string): string {
  const extension = path.posix.extname(filepath);
  return KNOWN_EXTENSIONS.has(extension.toLowerCase()) ? filepath.slice(0, -extension.length) : filepath;
}

/** The part of the folder that no placeholder of a later moment can change; '' when there is none. */
export function knownFolder(template: string, values: FilenameValues): string {
  const filled = stripParents(fillPlaceholders(template, values, true));
  const open = filled.indexOf('{');
  const fixed = open === -1 ? filled : filled.slice(0, open);
  return fixed.includes('/') ? fixed.slice(0, fixed.lastIndexOf('/') + 1) : '';
}

function fillPlaceholders(template: string, values: FilenameValues, keepUnknown = false): string {
  const replacements: Record<string, string> = {
    '{room_name}': values.roomName,
    '{room_id}': values.roomId,
    '{time}': localTime(values.startedAtMs),
    '{utc}': utcTime(values.startedAtMs),
    '{track_id}': values.trackId,
    '{publisher_identity}': values.publisherIdentity,
    '{track_type}': values.trackType,
    '{track_source}': values.trackSource,
    '{retry}': '0',
  };
  return template.replace(/\{[a-z_]+\}/g, (placeholder) => {
    const value = replacements[placeholder];
    return value === undefined || (value === '' && keepUnknown) ? placeholder : asPathPart(value);
  });
}

function asPathPart(value: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are what this keeps out of file names
  const safe = value.replace(/[/\\\u0000-\u001f\u007f]/g, '_');
  return safe === '.' || safe === '..' ? safe.replaceAll('.', '_') : safe;
}

function stripParents(filepath: string): string {
  let rest = filepath;
  while (rest.startsWith('../')) {
    rest = rest.slice(3);
  }
  return rest;
}

function withExtension(filepath: string, kind: FileKind): string {
  const extension = path.posix.extname(filepath);
  if (extension === `.${kind}`) {
    return filepath;
  }
  return `${withoutKnownExtension(filepath)}.${kind}`;
}

/** `2006-01-02T150405` in the time zone of this machine, as LiveKit writes it. */
function localTime(unixMs: number): string {
  const at = new Date(unixMs - new Date(unixMs).getTimezoneOffset() * 60_000).toISOString();
  return `${at.slice(0, 11)}${at.slice(11, 19).replaceAll(':', '')}`;
}

/** `20060102150405` and milliseconds, UTC. */
export function utcTime(unixMs: number): string {
  return new Date(unixMs).toISOString().replace(/[-:T.Z]/g, '');
}
