import { ServiceError } from '../../base/errors.ts';

/** What SRT's own form of a stream id may hold besides the key; nothing here depends on it. */
const IGNORED: ReadonlySet<string> = new Set(['h', 's']);
const KEY = /^[\w.~+/=-]{1,512}$/;

/**
 * The stream key of a publisher: `KEY`, `publish:KEY`, or `#!::r=KEY,m=publish` (SRT Access Control Guidelines).
 * @throws ServiceError invalid_argument; its text holds nothing of the key.
 */
export function streamKeyOf(streamId: string): string {
  if (streamId === '') {
    throw new ServiceError('invalid_argument', 'the stream id is missing: it is the stream key');
  }
  if (streamId.startsWith('#!::')) {
    return keyOfList(streamId.slice('#!::'.length));
  }
  const [, mode, key = ''] = /^(?:(\w+):)?(.*)$/s.exec(streamId) ?? [];
  if (mode !== undefined && mode !== 'publish') {
    throw notPublishing();
  }
  return checked(key);
}

function keyOfList(list: string): string {
  const values = new Map<string, string>();
  for (const part of list.split(',')) {
    const [, name = '', value = ''] = /^([a-z]+)=(.*)$/s.exec(part) ?? [];
    if (values.has(name)) {
      throw unreadable();
    }
    values.set(name, value);
  }
  const { r: key, m: mode, t: type = 'stream', ...rest } = Object.fromEntries(values);
  // Who names no mode wants to receive.
  if (mode !== 'publish') {
    throw notPublishing();
  }
  if (type !== 'stream' || Object.keys(rest).some((name) => !IGNORED.has(name))) {
    throw unreadable();
  }
  return checked(key ?? '');
}

function checked(key: string): string {
  if (!KEY.test(key)) {
    throw unreadable();
  }
  return key;
}

function unreadable(): ServiceError {
  return new ServiceError(
    'invalid_argument',
    'the stream id is neither KEY, nor publish:KEY, nor #!::r=KEY,m=publish',
  );
}

function notPublishing(): ServiceError {
  return new ServiceError('unimplemented', 'the stream id does not ask to publish (m=publish)');
}
