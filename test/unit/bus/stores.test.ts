import { EgressInfo, EgressStatus, IngressInfo, IngressState, IngressState_Status } from '@livekit/protocol';
import { describe, expect, it } from 'vitest';
import { ENDED_EGRESS_TTL_MS, MemoryEgressStore } from '../../../services/bus/egress-store.ts';
import { MemoryIngressStore } from '../../../services/bus/ingress-store.ts';

describe('egress store', () => {
  it('forgets ended jobs a day after they ended, and running ones never', async () => {
    let nowMs = 1_000_000;
    const store = new MemoryEgressStore(() => nowMs);
    await store.put(new EgressInfo({ egressId: 'EG_run', status: EgressStatus.EGRESS_ACTIVE }));
    await store.put(new EgressInfo({ egressId: 'EG_end', status: EgressStatus.EGRESS_FAILED }));
    nowMs += ENDED_EGRESS_TTL_MS;
    expect((await store.list({})).map((info) => info.egressId)).toEqual(['EG_end', 'EG_run']);
    nowMs += 1;
    expect((await store.list({})).map((info) => info.egressId)).toEqual(['EG_run']);
  });

  it('filters by room, id and activity, and hands out copies', async () => {
    const store = new MemoryEgressStore();
    await store.put(new EgressInfo({ egressId: 'EG_1', roomName: 'a', status: EgressStatus.EGRESS_ACTIVE }));
    await store.put(new EgressInfo({ egressId: 'EG_2', roomName: 'a', status: EgressStatus.EGRESS_ABORTED }));
    await store.put(
      new EgressInfo({ egressId: 'EG_3', roomName: 'b', status: EgressStatus.EGRESS_STARTING }),
    );
    const ids = async (filter: object): Promise<string[]> =>
      (await store.list(filter)).map((info) => info.egressId).sort();
    expect(await ids({ roomName: 'a' })).toEqual(['EG_1', 'EG_2']);
    expect(await ids({ active: true })).toEqual(['EG_1', 'EG_3']);
    expect(await ids({ egressId: 'EG_3', roomName: 'a' })).toEqual([]);
    const copy = await store.get('EG_1');
    (copy ?? new EgressInfo()).roomName = 'changed';
    expect((await store.get('EG_1'))?.roomName).toBe('a');
  });

  it('takes the later status of two updates with the same time', async () => {
    const store = new MemoryEgressStore();
    const put = (status: EgressStatus): Promise<boolean> =>
      store.put(new EgressInfo({ egressId: 'EG_1', status, updatedAt: 5n }));
    expect(await put(EgressStatus.EGRESS_ACTIVE)).toBe(true);
    expect(await put(EgressStatus.EGRESS_STARTING)).toBe(false);
    expect(await put(EgressStatus.EGRESS_COMPLETE)).toBe(true);
  });
});

describe('ingress store', () => {
  it('lets a newer session win over late words of an older one', async () => {
    const store = new MemoryIngressStore();
    await store.put(new IngressInfo({ ingressId: 'IN_1', streamKey: 'key' }));
    const report = (startedAt: bigint, updatedAt: bigint, status: IngressState_Status): Promise<string> =>
      store.updateState('IN_1', new IngressState({ startedAt, updatedAt, status }));
    expect(await report(10n, 10n, IngressState_Status.ENDPOINT_PUBLISHING)).toBe('stored');
    expect(await report(20n, 20n, IngressState_Status.ENDPOINT_BUFFERING)).toBe('stored');
    expect(await report(10n, 99n, IngressState_Status.ENDPOINT_ERROR)).toBe('stale');
    expect(await report(20n, 19n, IngressState_Status.ENDPOINT_ERROR)).toBe('stale');
    expect((await store.getByStreamKey('key'))?.state?.status).toBe(IngressState_Status.ENDPOINT_BUFFERING);
  });

  it('forgets the stream key with the endpoint', async () => {
    const store = new MemoryIngressStore();
    await store.put(new IngressInfo({ ingressId: 'IN_1', streamKey: 'key' }));
    await store.delete('IN_1');
    expect(await store.getByStreamKey('key')).toBeUndefined();
    expect(await store.updateState('IN_1', new IngressState())).toBe('missing');
  });
});
