import { describe, expect, test } from 'vitest';
import { StageOrder, type StageCandidate } from '../../../layouts/stage-order.ts';

function person(id: string, overrides: Partial<StageCandidate> = {}): StageCandidate {
  return { id, role: 'camera', hasPicture: true, isSpeaking: false, joinedAtMs: 0, ...overrides };
}

function ids(order: StageOrder, candidates: StageCandidate[], nowMs: number): string[] {
  return order.order(candidates, nowMs).map((candidate) => candidate.id);
}

describe('StageOrder', () => {
  test('shared screens lead, people without a picture come last', () => {
    const candidates = [
      person('voice', { hasPicture: false }),
      person('cam'),
      person('screen', { role: 'screen', joinedAtMs: 9 }),
    ];
    expect(ids(new StageOrder(), candidates, 0)).toEqual(['screen', 'cam', 'voice']);
  });

  test('a speaker takes the stage after a moment, not at once, and keeps it in silence', () => {
    const order = new StageOrder();
    const quiet = [person('a'), person('b', { joinedAtMs: 1 })];
    const bSpeaks = [person('a'), person('b', { joinedAtMs: 1, isSpeaking: true })];
    expect(ids(order, quiet, 0)).toEqual(['a', 'b']);
    expect(ids(order, bSpeaks, 1000)).toEqual(['a', 'b']);
    expect(order.nextChangeMs(1000)).toBe(600);
    expect(ids(order, bSpeaks, 1600)).toEqual(['b', 'a']);
    expect(ids(order, quiet, 9000)).toEqual(['b', 'a']);
  });

  test('the holder who keeps speaking is not pushed off by another voice', () => {
    const order = new StageOrder();
    const both = [person('a', { isSpeaking: true }), person('b', { joinedAtMs: 1, isSpeaking: true })];
    ids(order, [person('a', { isSpeaking: true }), person('b')], 0);
    ids(order, both, 1000);
    expect(ids(order, both, 5000)).toEqual(['a', 'b']);
  });

  test('the stage passes on when its holder leaves', () => {
    const order = new StageOrder();
    ids(order, [person('a'), person('b', { joinedAtMs: 1 })], 0);
    expect(ids(order, [person('b', { joinedAtMs: 1 })], 10)).toEqual(['b']);
  });
});
