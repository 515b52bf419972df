import { EgressInfo, EgressStatus } from '@livekit/protocol';
import { describe, expect, it } from 'vitest';
import { ServiceError } from '../../../services/base/errors.ts';
import { EgressRecord } from '../../../services/egress/egress-record.ts';
import {
  isFinal,
  nextState,
  TRANSITIONS,
  type EgressInput,
  type EgressState,
} from '../../../services/model/egress-state.ts';

const STATES = Object.keys(TRANSITIONS) as EgressState[];
const INPUTS: EgressInput[] = ['activate', 'end', 'finish', 'finish_limited', 'fail', 'abort'];
const ALLOWED = new Map([
  ['starting activate', 'active'],
  ['starting abort', 'aborted'],
  ['starting fail', 'failed'],
  ['active end', 'ending'],
  ['active fail', 'failed'],
  ['ending finish', 'complete'],
  ['ending finish_limited', 'limit_reached'],
  ['ending fail', 'failed'],
]);

describe('egress states', () => {
  it.each(STATES.flatMap((state) => INPUTS.map((input) => [state, input] as const)))(
    '%s + %s',
    (state, input) => {
      expect(nextState(state, input)).toBe(ALLOWED.get(`${state} ${input}`));
    },
  );

  it('cannot be left once final, and every other state can fail', () => {
    expect(STATES.filter(isFinal)).toEqual(['complete', 'failed', 'aborted', 'limit_reached']);
    for (const state of STATES.filter((name) => !isFinal(name))) {
      expect(nextState(state, 'fail')).toBe('failed');
    }
  });
});

describe('egress record', () => {
  function open() {
    const seen: EgressInfo[] = [];
    const record = new EgressRecord(new EgressInfo({ egressId: 'EG_1' }), (info) => seen.push(info));
    return { record, seen };
  }

  it('tells a successful job: times rise, the single result is filled, the reason is named', () => {
    const { record, seen } = open();
    record.activate();
    record.end('stop_requested');
    record.setFile({
      filename: 'a.mp4',
      location: '/r/a.mp4',
      sizeBytes: 5,
      durationUs: 1_500_000,
      startedAtNs: 1n,
      endedAtNs: 2n,
    });
    record.finish(false);
    expect(seen.map(({ status }) => status)).toEqual([
      EgressStatus.EGRESS_ACTIVE,
      EgressStatus.EGRESS_ENDING,
      EgressStatus.EGRESS_COMPLETE,
    ]);
    const last = record.snapshot();
    expect(last).toMatchObject({ details: 'End reason: StopEgress API', error: '', errorCode: 0 });
    expect(last.fileResults[0]).toMatchObject({ filename: 'a.mp4', size: 5n, duration: 1_500_000_000n });
    expect(last.toJson()).toMatchObject({ file: { location: '/r/a.mp4' } });
    expect(last.endedAt).toBe(last.updatedAt);
    expect(seen.every((info, i) => i === 0 || info.updatedAt > (seen[i - 1]?.updatedAt ?? 0n))).toBe(true);
  });

  it.each([
    [new ServiceError('not_found', 'track TR_1 not found'), 404],
    [new ServiceError('unavailable', 'x'), 503],
    [new ServiceError('invalid_argument', 'x'), 400],
    [new ServiceError('internal', 'x'), 500],
    [new Error('untyped'), 0],
  ])('gives %s the error code %i', (error, code) => {
    const { record } = open();
    record.fail(error);
    expect(record.snapshot()).toMatchObject({
      status: EgressStatus.EGRESS_FAILED,
      error: error.message,
      errorCode: code,
      details: 'End reason: Failure',
    });
  });

  it('stays as it ended, whatever comes later', () => {
    const { record, seen } = open();
    record.abort('stopped_before_start');
    record.activate();
    record.fail(new Error('late'));
    record.finish(false);
    expect(seen).toHaveLength(1);
    expect(record.snapshot()).toMatchObject({
      status: EgressStatus.EGRESS_ABORTED,
      errorCode: 412,
      error: 'Stop called before pipeline could start',
    });
  });

  it('repeats no secret in an error', () => {
    const { record } = open();
    record.fail(new Error('page http://x/?token=abcdef failed'));
    expect(record.snapshot().error).toBe('page http://x/?token=[redacted] failed');
  });
});
