import { IngressInput, type IngressInfo } from '@livekit/protocol';
import { ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import type { Bus } from '../bus/bus.ts';
import { IOInfo } from '../bus/rpc-methods.ts';

const LOOKUP_TIMEOUT_MS = 3_000;

/**
 * The endpoint of a stream key.
 * @throws ServiceError not_found: no endpoint of this kind has the key; permission_denied: it is disabled;
 *   unavailable: nobody can tell right now.
 */
export async function lookUpStreamKey(
  { bus, logger }: { bus: Bus; logger: Logger },
  streamKey: string,
  inputType: IngressInput,
): Promise<IngressInfo> {
  let info: IngressInfo | undefined;
  try {
    if (streamKey !== '') {
      const found = await bus.request(IOInfo.getIngressInfo, { streamKey }, { timeoutMs: LOOKUP_TIMEOUT_MS });
      info = found.info;
    }
  } catch (error) {
    if (!(error instanceof ServiceError) || error.code !== 'not_found') {
      logger.error({ err: error }, 'ingress lookup failed');
      throw new ServiceError('unavailable', 'stream keys cannot be checked right now; try again');
    }
  }
  if (info?.inputType !== inputType) {
    const belongsTo = info === undefined ? undefined : IngressInput[info.inputType];
    logger.warn({ belongsTo, asked: IngressInput[inputType] }, 'publish refused: no such stream key');
    throw new ServiceError('not_found', 'stream key is not valid');
  }
  if (info.enabled === false) {
    logger.warn({ ingressId: info.ingressId }, 'publish refused: the endpoint is disabled');
    throw new ServiceError('permission_denied', 'the endpoint of this stream key is disabled');
  }
  return info;
}
