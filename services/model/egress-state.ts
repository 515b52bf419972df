import type { EndReason } from './egress.ts';

/** The life of an egress job; the names are LiveKit's EgressStatus without its prefix. */
export type EgressState =
  'starting' | 'active' | 'ending' | 'complete' | 'failed' | 'aborted' | 'limit_reached';

export type EgressInput =
  /** Media flows. */
  | 'activate'
  /** No more media; outputs are being finished. */
  | 'end'
  /** Outputs are finished. */
  | 'finish'
  | 'finish_limited'
  | 'fail'
  | 'abort';

/** What is not in the table is not a transition: the input is refused and nothing changes. */
export const TRANSITIONS: Readonly<Record<EgressState, Readonly<Partial<Record<EgressInput, EgressState>>>>> =
  {
    starting: { activate: 'active', abort: 'aborted', fail: 'failed' },
    active: { end: 'ending', fail: 'failed' },
    ending: { finish: 'complete', finish_limited: 'limit_reached', fail: 'failed' },
    complete: {},
    failed: {},
    aborted: {},
    limit_reached: {},
  };

export function nextState(state: EgressState, input: EgressInput): EgressState | undefined {
  return TRANSITIONS[state][input];
}

export function isFinal(state: EgressState): boolean {
  return Object.keys(TRANSITIONS[state]).length === 0;
}

/** How a job that ends for `reason` in a state that was never active ends. */
export function inputBeforeActive(reason: EndReason): 'abort' | 'fail' {
  return reason === 'failure' || reason === 'killed' ? 'fail' : 'abort';
}
