import { createHash, timingSafeEqual } from 'node:crypto';
import { ServiceError } from '../../base/errors.ts';
import { randomString } from '../../base/ids.ts';
import type { WhipSessionHandle } from './whip-types.ts';

/** About 190 bits: nobody finds a session by trying. */
const ID_LENGTH = 32;

/** Encoders close their connection first and DELETE then (OBS does): that still has to work. */
const DELETE_GRACE_MS = 10_000;

type Resource = { session: WhipSessionHandle; bearerHash: Buffer | undefined };

/** The session URLs that were given out, and who may use them. */
export class WhipResources {
  readonly #resources = new Map<string, Resource>();

  /** @param bearer what the session was created with; '' = the key was in the URL, and the session URL is the secret. */
  add(session: WhipSessionHandle, bearer: string): string {
    const id = randomString(ID_LENGTH);
    this.#resources.set(id, { session, bearerHash: bearer === '' ? undefined : hashOf(bearer) });
    void session.ended.then(() => {
      setTimeout(() => this.#resources.delete(id), DELETE_GRACE_MS).unref();
    });
    return id;
  }

  /** The session was deleted by its owner. */
  remove(id: string): void {
    this.#resources.delete(id);
  }

  /** @throws ServiceError not_found; unauthenticated or permission_denied without the bearer of its creation. */
  find(id: string, bearer: string): WhipSessionHandle {
    const resource = this.#resources.get(id);
    if (resource === undefined) {
      throw new ServiceError('not_found', 'no such WHIP session; it may have ended');
    }
    const { session, bearerHash } = resource;
    if (bearerHash !== undefined) {
      if (bearer === '') {
        throw new ServiceError('unauthenticated', 'the session was created with a bearer token: send it');
      }
      if (!timingSafeEqual(bearerHash, hashOf(bearer))) {
        throw new ServiceError('permission_denied', 'the session belongs to another stream key');
      }
    }
    return session;
  }
}

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}
