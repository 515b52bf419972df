import { EgressStatus } from '@livekit/protocol';
import type { RpcStartEgressRequest } from '../../services/bus/rpc-messages.ts';
import type { EgressNode } from '../support/egress-node.ts';
import { coresOf } from './cores-of.ts';

/** What the handler process of one recording takes. @throws Error when it recorded less than was measured. */
export async function recordingCores(
  node: EgressNode,
  job: { egressId: string; room: string; request: RpcStartEgressRequest['request'] },
  times: { warmUpS: number; measuredS: number },
): Promise<number> {
  const { egressId } = job;
  await node.start(egressId, job.room, job.request);
  await node.reached(egressId, EgressStatus.EGRESS_ACTIVE);
  const pid = node.service.jobs().find((candidate) => candidate.egressId === egressId)?.handlerPid ?? 0;
  const cores = await coresOf(() => [pid], times);
  await node.stop(egressId);
  const info = await node.reached(egressId, EgressStatus.EGRESS_COMPLETE);
  const recordedS = Number(info.fileResults[0]?.duration ?? 0) / 1e9;
  if (recordedS < times.measuredS) {
    throw new Error(`only ${recordedS} s were recorded`);
  }
  return cores;
}
