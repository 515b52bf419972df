import type { StorageTarget } from '../../model/egress.ts';
import { localStorage } from './local.ts';
import { s3Storage } from './s3.ts';

export type StoredFile = { location: string };

export type StoreOptions = {
  /** A finished file on this machine; it may be moved away. */
  file: string;
  /** Path or key as the request gave it, placeholders filled in. */
  storagePath: string;
  mimeType: string;
};

/** Where finished files go. */
export type Storage = {
  /**
   * Proves that `storagePath` can be written before a recording starts, without leaving anything behind.
   * @throws ServiceError permission_denied | invalid_argument | unavailable that says what and where.
   */
  preflight(storagePath: string): Promise<void>;
  /** @throws ServiceError with the cause; `file` is still there afterwards. */
  store(options: StoreOptions): Promise<StoredFile>;
  close(): void;
};

export function createStorage(target: StorageTarget): Storage {
  return target.kind === 's3' ? s3Storage(target) : localStorage(target);
}
