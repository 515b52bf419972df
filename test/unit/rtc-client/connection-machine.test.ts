import { describe, expect, it } from 'vitest';
import {
  INITIAL_CONTEXT,
  RETRY_DELAYS_MS,
  transition,
  type ConnectionContext,
  type ConnectionInput,
  type ConnectionState,
} from '../../../services/rtc-client/connection-machine.ts';
import { seededRandom } from '../packetize/payloads.ts';

const STATES: ConnectionState[] = ['connecting', 'connected', 'waiting', 'resuming', 'restarting', 'closed'];
const ID = 7;

const INPUTS: Record<string, ConnectionInput> = {
  established: { type: 'established', attemptId: ID },
  'failed, retry': { type: 'attemptFailed', attemptId: ID, outcome: 'retry', reason: 'r' },
  'failed, escalate': { type: 'attemptFailed', attemptId: ID, outcome: 'escalate', reason: 'r' },
  'failed, final': { type: 'attemptFailed', attemptId: ID, outcome: 'final', reason: 'r' },
  retryDue: { type: 'retryDue', attemptId: ID },
  signalLost: { type: 'signalLost', reason: 'r' },
  transportLost: { type: 'transportLost', reason: 'r' },
  'leave, disconnect': { type: 'leave', action: 'disconnect', reason: 'r' },
  'leave, resume': { type: 'leave', action: 'resume', reason: 'r' },
  'leave, reconnect': { type: 'leave', action: 'reconnect', reason: 'r' },
  close: { type: 'close', reason: 'r' },
};

/**
 * Every state and input, and what comes of it: `state` for a plain change, `waiting:what` for a wait for the next
 * attempt, '-' for nothing. Adding a state or an input without deciding this fails here.
 */
const DOCUMENTED: Record<ConnectionState, Record<keyof typeof INPUTS, string>> = {
  connecting: {
    established: 'connected',
    'failed, retry': 'closed',
    'failed, escalate': 'closed',
    'failed, final': 'closed',
    retryDue: '-',
    signalLost: '-',
    transportLost: '-',
    'leave, disconnect': '-',
    'leave, resume': '-',
    'leave, reconnect': '-',
    close: 'closed',
  },
  connected: {
    established: '-',
    'failed, retry': '-',
    'failed, escalate': '-',
    'failed, final': '-',
    retryDue: '-',
    signalLost: 'waiting:resume',
    transportLost: 'waiting:resume',
    'leave, disconnect': 'closed',
    'leave, resume': 'waiting:resume',
    'leave, reconnect': 'waiting:restart',
    close: 'closed',
  },
  waiting: {
    established: '-',
    'failed, retry': '-',
    'failed, escalate': '-',
    'failed, final': '-',
    retryDue: 'resuming',
    signalLost: '-',
    transportLost: '-',
    'leave, disconnect': 'closed',
    'leave, resume': 'waiting:resume',
    'leave, reconnect': 'waiting:restart',
    close: 'closed',
  },
  resuming: {
    established: 'connected',
    'failed, retry': 'waiting:resume',
    'failed, escalate': 'waiting:restart',
    'failed, final': 'closed',
    retryDue: '-',
    signalLost: 'waiting:resume',
    transportLost: 'waiting:restart',
    'leave, disconnect': 'closed',
    'leave, resume': 'waiting:restart',
    'leave, reconnect': 'waiting:restart',
    close: 'closed',
  },
  restarting: {
    established: 'connected',
    'failed, retry': 'waiting:restart',
    'failed, escalate': 'waiting:restart',
    'failed, final': 'closed',
    retryDue: '-',
    signalLost: 'waiting:restart',
    transportLost: 'waiting:restart',
    'leave, disconnect': 'closed',
    'leave, resume': 'waiting:restart',
    'leave, reconnect': 'waiting:restart',
    close: 'closed',
  },
  closed: {
    established: '-',
    'failed, retry': '-',
    'failed, escalate': '-',
    'failed, final': '-',
    retryDue: '-',
    signalLost: '-',
    transportLost: '-',
    'leave, disconnect': '-',
    'leave, resume': '-',
    'leave, reconnect': '-',
    close: '-',
  },
};

function contextIn(state: ConnectionState): ConnectionContext {
  return { state, attemptId: ID, failures: 0, next: state === 'restarting' ? 'restart' : 'resume' };
}

describe('connection machine', () => {
  for (const state of STATES) {
    it.each(Object.entries(INPUTS))(`${state} + %s`, (name, input) => {
      const result = transition(contextIn(state), input);
      const outcome =
        result === undefined
          ? '-'
          : result.context.state === 'waiting'
            ? `waiting:${result.context.next}`
            : result.context.state;
      expect(outcome).toBe(DOCUMENTED[state][name]);
      if (result === undefined) {
        return;
      }
      const effects = result.effects.map(({ type }) => type);
      if (result.context.state === 'closed') {
        expect(result.effects).toEqual([{ type: 'finish', reason: 'r' }]);
      } else if (result.context.state === 'waiting') {
        // A wait is a new attempt: whatever the old one still reports is void.
        expect(result.context.attemptId).toBe(ID + 1);
        expect(effects).toEqual(['announceReconnecting', 'schedule']);
      } else if (result.context.state === 'connected') {
        expect(effects).toEqual(['announceConnected']);
        expect(result.context.failures).toBe(0);
      }
    });
  }

  it('waits for the restart it was told to make', () => {
    const waiting: ConnectionContext = { ...contextIn('waiting'), next: 'restart' };
    expect(transition(waiting, { type: 'retryDue', attemptId: ID })).toEqual({
      context: { ...waiting, state: 'restarting' },
      effects: [{ type: 'startRestart', attemptId: ID }],
    });
    expect(transition(waiting, { type: 'leave', action: 'resume', reason: '' })?.context.next).toBe(
      'restart',
    );
  });

  it.each(['established', 'attemptFailed', 'retryDue'] as const)(
    'ignores %s of an attempt that is over',
    (type) => {
      for (const state of STATES) {
        const input = { type, attemptId: ID - 1, outcome: 'retry', reason: '' } as ConnectionInput;
        expect(transition(contextIn(state), input)).toBeUndefined();
      }
    },
  );

  it('takes its time between attempts and gives up after the last', () => {
    let context = transition(contextIn('connected'), { type: 'signalLost', reason: 'first' })?.context;
    const delays: number[] = [RETRY_DELAYS_MS[0]];
    let reason = '';
    while (context !== undefined && context.state !== 'closed') {
      const { attemptId } = context;
      context = transition(context, { type: 'retryDue', attemptId })?.context ?? context;
      const failed = transition(context, {
        type: 'attemptFailed',
        attemptId,
        outcome: 'retry',
        reason: 'still down',
      });
      context = failed?.context;
      for (const effect of failed?.effects ?? []) {
        if (effect.type === 'schedule') {
          delays.push(effect.delayMs);
        } else if (effect.type === 'finish') {
          reason = effect.reason;
        }
      }
    }
    expect(delays).toEqual([...RETRY_DELAYS_MS]);
    expect(reason).toBe('still down');
  });

  it('holds its invariants on random walks', () => {
    const random = seededRandom(2026);
    const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)] as T;
    for (let walk = 0; walk < 300; walk += 1) {
      let context = INITIAL_CONTEXT;
      let finished = 0;
      for (let step = 0; step < 60; step += 1) {
        const input = { ...pick(Object.values(INPUTS)) };
        if ('attemptId' in input) {
          input.attemptId = context.attemptId - (random() < 0.2 ? 1 : 0);
        }
        const result = transition(context, input);
        if (result === undefined) {
          continue;
        }
        expect(result.context.attemptId).toBeGreaterThanOrEqual(context.attemptId);
        expect(result.context.failures).toBeLessThanOrEqual(RETRY_DELAYS_MS.length);
        finished += result.effects.filter(({ type }) => type === 'finish').length;
        context = result.context;
      }
      expect(finished).toBe(context.state === 'closed' ? 1 : 0);
    }
  });
});
