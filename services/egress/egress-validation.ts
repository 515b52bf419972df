import { ServiceError } from '../base/errors.ts';
import type { RequestedJob } from '../model/egress.ts';
import { notSupported } from '../model/presets.ts';

export type NodeAbilities = { disallowLocalStorage: boolean; hasChromium: boolean };

/**
 * What a well-formed request still cannot have on this node.
 * @throws ServiceError invalid_argument, unavailable or unimplemented, naming the field or the missing program.
 */
export function assertPossible(requested: RequestedJob, abilities: NodeAbilities): void {
  const { job, outputs } = requested;
  const { file, segments, images, streams } = outputs;
  const stored = [file, segments, ...images].flatMap((output) => (output === undefined ? [] : [output]));
  if (abilities.disallowLocalStorage && stored.some(({ storage }) => storage.kind === 'local')) {
    throw new ServiceError(
      'invalid_argument',
      'request has missing or invalid field: output (local storage is switched off here: name an s3 storage)',
    );
  }
  if ((job.kind === 'template' || job.kind === 'web') && !abilities.hasChromium) {
    throw new ServiceError(
      'unavailable',
      `${job.kind === 'web' ? 'web egress' : 'room composite'} needs Chromium, which this machine does not have: apt-get install chromium, or set PUPPETEER_EXECUTABLE_PATH`,
      { scope: 'node', retryable: false },
    );
  }
  if (images.length > 0) {
    throw notSupported('image_outputs');
  }
  if (streams !== undefined) {
    throw notSupported('stream_outputs');
  }
}
