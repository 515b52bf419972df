import type { StorageTarget } from '../../model/egress.ts';
import type { Storage } from './storage.ts';

/** One storage per target of a job, however many outputs share it. */
export class StoragePool {
  readonly #create: (target: StorageTarget) => Storage;
  readonly #storages = new Map<string, Storage>();

  constructor(create: (target: StorageTarget) => Storage) {
    this.#create = create;
  }

  for(target: StorageTarget): Storage {
    const key = JSON.stringify(target);
    let storage = this.#storages.get(key);
    if (storage === undefined) {
      storage = this.#create(target);
      this.#storages.set(key, storage);
    }
    return storage;
  }

  close(): void {
    for (const storage of this.#storages.values()) {
      storage.close();
    }
    this.#storages.clear();
  }
}
