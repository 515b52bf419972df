import { messageOf, ServiceError } from '../../base/errors.ts';
import { localStorage } from '../uploads/local.ts';

/**
 * Keeps a finished recording that its storage refused: below `rescueDir`, named after the job.
 * Where that fails too, the file stays where it is. Returns the storage's error with the place in its message.
 */
export async function rescueFile(
  file: string,
  rescueDir: string,
  name: string,
  cause: unknown,
): Promise<{ error: ServiceError; location: string }> {
  const error = ServiceError.from(cause);
  try {
    const { location } = await localStorage({ kind: 'local', rootDir: rescueDir }).store({
      file,
      storagePath: name,
      mimeType: '',
    });
    return { error: withNote(error, `the recording is kept at ${location}`), location };
  } catch (failure) {
    const note = `the recording stays at ${file} (${messageOf(failure)})`;
    return { error: withNote(error, note), location: file };
  }
}

function withNote(error: ServiceError, note: string): ServiceError {
  return new ServiceError(error.code, `${error.message}; ${note}`, { blame: error.blame, cause: error });
}
