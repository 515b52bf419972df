import { ServiceError } from '../../base/errors.ts';
import { parseConclusion, type SrtReject } from '../../protocol/srt-handshake.ts';
import { isWrappedWith } from '../../protocol/srt-key-material.ts';
import { streamKeyOf } from './stream-id.ts';

/** A conclusion that is turned down before its key is looked up, with the code its caller gets. */
export class SrtRefusal extends Error {
  override readonly name = 'SrtRefusal';
  readonly reject: SrtReject;

  constructor(reject: SrtReject, message: string) {
    super(message);
    this.reject = reject;
  }
}

/**
 * The stream key a caller may be looked up by: what it wants can be served, and it knows the passphrase.
 * @param passphrase '' = nothing may be encrypted. @throws SrtRefusal, ServiceError as streamKeyOf.
 */
export async function readCaller(conclusion: Buffer, passphrase: string): Promise<string> {
  const asked = parseConclusion(conclusion);
  if (asked === undefined) {
    throw new SrtRefusal('badRequest', 'the extensions of the handshake are damaged');
  }
  if (asked.isGroup) {
    throw new SrtRefusal('group', 'bonded connections are not supported');
  }
  if (asked.congestion !== 'live') {
    throw new SrtRefusal('congestion', 'only live transmission is supported');
  }
  const { keyMaterial } = asked;
  if ((keyMaterial === undefined) !== (passphrase === '')) {
    throw new SrtRefusal(
      'unsecure',
      passphrase === ''
        ? 'it encrypts, and ingress.srt_passphrase is not set'
        : 'it does not encrypt, and ingress.srt_passphrase is set',
    );
  }
  if (keyMaterial !== undefined && !(await isWrappedWith(keyMaterial, passphrase))) {
    throw new SrtRefusal('badSecret', 'wrong passphrase');
  }
  return streamKeyOf(asked.streamId);
}

/** What a caller is told about an error. */
export function rejectOf(error: unknown): SrtReject {
  if (error instanceof SrtRefusal) {
    return error.reject;
  }
  const { code } = ServiceError.from(error);
  switch (code) {
    case 'invalid_argument':
    case 'malformed':
      return 'badRequest';
    case 'unimplemented':
      return 'badMode';
    case 'not_found':
      return 'notFound';
    case 'unauthenticated':
      return 'unauthorized';
    case 'permission_denied':
      return 'forbidden';
    case 'already_exists':
      return 'conflict';
    case 'resource_exhausted':
      return 'overload';
    case 'unavailable':
    case 'deadline_exceeded':
      return 'unavailable';
    default:
      return 'internal';
  }
}
