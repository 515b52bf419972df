import { EgressStatus, type EgressInfo } from '@livekit/protocol';
import { unixNs } from '../base/clock.ts';
import { HTTP_STATUS_BY_CODE, ServiceError } from '../base/errors.ts';
import type { Bus } from './bus.ts';
import { isEnded } from './egress-store.ts';
import type { LostWork } from './lease-reaper.ts';
import { IOInfo } from './rpc-methods.ts';

const TIMEOUT_MS = 5_000;

/** A job whose node is gone has failed. */
export const LOST_EGRESS: LostWork = {
  kind: 'egress',
  async report(bus, { id: egressId, silentMs }) {
    const info = await load(bus, egressId);
    if (info === undefined || isEnded(info.status)) {
      return false;
    }
    await bus.request(IOInfo.updateEgress, failed(info, silentMs), { timeoutMs: TIMEOUT_MS });
    return true;
  },
};

async function load(bus: Bus, egressId: string): Promise<EgressInfo | undefined> {
  try {
    return await bus.request(IOInfo.getEgress, { egressId }, { timeoutMs: TIMEOUT_MS });
  } catch (error) {
    if (error instanceof ServiceError && error.code === 'not_found') {
      return undefined;
    }
    throw error;
  }
}

function failed(info: EgressInfo, silentMs: number): EgressInfo {
  const update = info.clone();
  const now = unixNs();
  update.status = EgressStatus.EGRESS_FAILED;
  update.error = `egress node lost: no sign of life for ${Math.round(silentMs / 1000)} s`;
  update.errorCode = HTTP_STATUS_BY_CODE.unavailable;
  update.details = 'End reason: Failure';
  // The lost node's clock may have run ahead of this one's.
  update.updatedAt = now > info.updatedAt ? now : info.updatedAt + 1n;
  update.endedAt = update.updatedAt;
  return update;
}
