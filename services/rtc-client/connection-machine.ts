/**
 * The life of a room connection as a table. The machine decides when to resume, when to start over and when to give
 * up; it makes no attempts itself. Every attempt has an id, and what an attempt that is no longer the current one
 * reports is ignored.
 *
 * resume: new WebSocket, same session, ICE restart; restart: a new session (new participant id, everything published
 * again), as livekit-client does both.
 */
export type ConnectionState = 'connecting' | 'connected' | 'waiting' | 'resuming' | 'restarting' | 'closed';

export type ConnectionInput =
  /** The attempt has signalling and media. */
  | { type: 'established'; attemptId: number }
  /** retry: the same again; escalate: a resume is hopeless, start over; final: no attempt can succeed. */
  | { type: 'attemptFailed'; attemptId: number; outcome: 'retry' | 'escalate' | 'final'; reason: string }
  | { type: 'retryDue'; attemptId: number }
  | { type: 'signalLost'; reason: string }
  | { type: 'transportLost'; reason: string }
  | { type: 'leave'; action: 'disconnect' | 'resume' | 'reconnect'; reason: string }
  | { type: 'close'; reason: string };

export type ConnectionContext = {
  state: ConnectionState;
  /** Id of the attempt under way, or of the one that is waited for. */
  attemptId: number;
  /** Failed attempts since the connection was last up. */
  failures: number;
  /** What the next attempt is. */
  next: 'resume' | 'restart';
};

export type ConnectionEffect =
  | { type: 'announceConnected'; how: 'joined' | 'resumed' | 'restarted' }
  | { type: 'announceReconnecting'; attempt: number }
  | { type: 'schedule'; attemptId: number; delayMs: number }
  | { type: 'startResume'; attemptId: number }
  | { type: 'startRestart'; attemptId: number }
  | { type: 'finish'; reason: string };

export type Transition = { context: ConnectionContext; effects: ConnectionEffect[] };

/** Before attempt n; the number of entries is the number of attempts. livekit-client's policy without its jitter. */
export const RETRY_DELAYS_MS = [0, 300, 1200, 2700, 4800, 7000, 7000, 7000, 7000, 7000] as const;

export const INITIAL_CONTEXT: ConnectionContext = {
  state: 'connecting',
  attemptId: 1,
  failures: 0,
  next: 'resume',
};

type InputOf<Type extends ConnectionInput['type']> = Extract<ConnectionInput, { type: Type }>;
type Handlers = {
  [Type in ConnectionInput['type']]?: (
    context: ConnectionContext,
    input: InputOf<Type>,
  ) => Transition | undefined;
};

function finish(context: ConnectionContext, input: { reason: string }): Transition {
  return {
    context: { ...context, state: 'closed' },
    effects: [{ type: 'finish', reason: input.reason }],
  };
}

/** Waits for the next attempt, or gives up when there were enough. */
function waitFor(context: ConnectionContext, next: 'resume' | 'restart', reason: string): Transition {
  const delayMs = RETRY_DELAYS_MS[context.failures];
  if (delayMs === undefined) {
    return finish(context, { reason });
  }
  const attemptId = context.attemptId + 1;
  return {
    context: { ...context, state: 'waiting', attemptId, next },
    effects: [
      { type: 'announceReconnecting', attempt: context.failures + 1 },
      { type: 'schedule', attemptId, delayMs },
    ],
  };
}

function established(how: 'joined' | 'resumed' | 'restarted') {
  return (context: ConnectionContext): Transition => ({
    context: { ...context, state: 'connected', failures: 0, next: 'resume' },
    effects: [{ type: 'announceConnected', how }],
  });
}

function failed(context: ConnectionContext, next: 'resume' | 'restart', reason: string): Transition {
  return waitFor({ ...context, failures: context.failures + 1 }, next, reason);
}

function onLeave(context: ConnectionContext, input: InputOf<'leave'>): Transition {
  return input.action === 'disconnect'
    ? finish(context, input)
    : waitFor(context, input.action === 'reconnect' ? 'restart' : context.next, input.reason);
}

const TABLE: Readonly<Record<ConnectionState, Handlers>> = {
  connecting: {
    established: established('joined'),
    attemptFailed: finish,
    close: finish,
  },
  connected: {
    signalLost: (context, input) => waitFor(context, 'resume', input.reason),
    transportLost: (context, input) => waitFor(context, 'resume', input.reason),
    leave: onLeave,
    close: finish,
  },
  waiting: {
    retryDue: (context) =>
      context.next === 'resume'
        ? {
            context: { ...context, state: 'resuming' },
            effects: [{ type: 'startResume', attemptId: context.attemptId }],
          }
        : {
            context: { ...context, state: 'restarting' },
            effects: [{ type: 'startRestart', attemptId: context.attemptId }],
          },
    leave: onLeave,
    close: finish,
  },
  resuming: {
    established: established('resumed'),
    attemptFailed: (context, input) =>
      input.outcome === 'final'
        ? finish(context, input)
        : failed(context, input.outcome === 'escalate' ? 'restart' : 'resume', input.reason),
    signalLost: (context, input) => failed(context, 'resume', input.reason),
    transportLost: (context, input) => failed(context, 'restart', input.reason),
    leave: (context, input) =>
      input.action === 'disconnect' ? finish(context, input) : failed(context, 'restart', input.reason),
    close: finish,
  },
  restarting: {
    established: established('restarted'),
    attemptFailed: (context, input) =>
      input.outcome === 'final' ? finish(context, input) : failed(context, 'restart', input.reason),
    signalLost: (context, input) => failed(context, 'restart', input.reason),
    transportLost: (context, input) => failed(context, 'restart', input.reason),
    leave: (context, input) =>
      input.action === 'disconnect' ? finish(context, input) : failed(context, 'restart', input.reason),
    close: finish,
  },
  closed: {},
};

/** Undefined: the input changes nothing in this state, or belongs to an attempt that is over. */
export function transition(context: ConnectionContext, input: ConnectionInput): Transition | undefined {
  if ('attemptId' in input && input.attemptId !== context.attemptId) {
    return undefined;
  }
  const handler = TABLE[context.state][input.type] as
    ((context: ConnectionContext, input: ConnectionInput) => Transition | undefined) | undefined;
  return handler?.(context, input);
}
