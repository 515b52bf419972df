import * as livekit from '@livekit/protocol';
import { setTimeout as delay } from 'node:timers/promises';
import { ServiceError } from '../base/errors.ts';
import { isEnded } from '../bus/egress-store.ts';
import type { LiveKitApi } from './livekit-api.ts';

const POLL_MS = 250;

/** Asks until there is an answer. @throws ServiceError deadline_exceeded; AbortError. */
export async function poll<T>(
  timeoutMs: number,
  failure: string,
  signal: AbortSignal,
  attempt: () => Promise<T | undefined>,
): Promise<T> {
  const deadlineMs = Date.now() + timeoutMs;
  while (Date.now() < deadlineMs) {
    const result = await attempt();
    if (result !== undefined) {
      return result;
    }
    await delay(POLL_MS, undefined, { signal });
  }
  throw new ServiceError('deadline_exceeded', `${failure} (${timeoutMs / 1000} s)`);
}

/** Waits for a status of a job. @throws ServiceError when the job ends in another one. */
export function reach(
  api: LiveKitApi,
  egressId: string,
  status: livekit.EgressStatus,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<livekit.EgressInfo> {
  return poll(timeoutMs, `not ${livekit.EgressStatus[status]} in time`, signal, async () => {
    const [info] = await api.listEgress({ egressId });
    if (info !== undefined && isEnded(info.status) && info.status !== status) {
      const reason = info.error || info.details;
      throw new ServiceError('aborted', `${livekit.EgressStatus[info.status]}: ${reason}`);
    }
    return info?.status === status ? info : undefined;
  });
}
