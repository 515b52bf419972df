import { ServiceError } from '../base/errors.ts';
import type { RequestedJob } from '../model/egress.ts';
import { parseStreamUrl, type StreamProtocol } from '../model/stream-url.ts';

export type NodeAbilities = {
  disallowLocalStorage: boolean;
  hasChromium: boolean;
  /** What twitch://KEY stands for; '' = such addresses are refused. */
  twitchIngest: string;
};

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
  if (streams !== undefined) {
    resolveStreamUrls(streams.urls, streams.protocol, abilities.twitchIngest);
  }
}

/**
 * Addresses as the handler takes them, with mux:// and twitch:// written out.
 * @throws ServiceError invalid_argument for the first that is not valid, or is there twice.
 */
export function resolveStreamUrls(
  urls: readonly string[],
  protocol: StreamProtocol,
  twitchIngest: string,
): string[] {
  const addresses = urls.map((url) => parseStreamUrl(url, { protocol, twitchIngest }));
  const resolved = addresses.map(({ url }) => url);
  const twice = addresses.find(({ url }, index) => resolved.indexOf(url) !== index);
  if (twice !== undefined) {
    throw new ServiceError('invalid_argument', `invalid url: named twice (${twice.redactedUrl})`);
  }
  return resolved;
}
