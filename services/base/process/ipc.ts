/**
 * Messages between a supervisor and its child process. Control messages are the supervisor's own; `app` carries what
 * the two sides have agreed on, a discriminated union of plain JSON.
 */
export type ToChild<App> = { type: 'app'; message: App } | { type: 'ping'; id: number };
export type FromChild<App> =
  | { type: 'ready' }
  | { type: 'app'; message: App }
  | { type: 'pong'; id: number; rssBytes: number; cpuMs: number };

export type ParentLink<Out> = {
  send(message: Out): void;
  /** Tells the supervisor that messages are welcome. */
  ready(): void;
  /** Lets the process end. */
  close(): void;
};

export type ParentLinkOptions<In> = {
  onMessage: (message: In) => void;
  /** The supervisor is gone; nobody will ask this process to end. */
  onParentGone: () => void;
};

/** The child's side. @throws Error when the process was not forked with an IPC channel. */
export function connectParent<In, Out>(options: ParentLinkOptions<In>): ParentLink<Out> {
  if (process.send === undefined) {
    throw new Error('this program is started by its service, not by hand');
  }
  const post = (message: FromChild<Out>): void => {
    if (process.connected) {
      // The channel may close in the same moment; its end is reported by 'disconnect'.
      process.send?.(message, undefined, undefined, () => undefined);
    }
  };
  process.on('message', (raw: ToChild<In>) => {
    if (raw.type === 'ping') {
      const { user, system } = process.cpuUsage();
      post({
        type: 'pong',
        id: raw.id,
        rssBytes: process.memoryUsage.rss(),
        cpuMs: Math.round((user + system) / 1000),
      });
    } else {
      options.onMessage(raw.message);
    }
  });
  process.on('disconnect', () => {
    options.onParentGone();
  });
  return {
    send: (message) => {
      post({ type: 'app', message });
    },
    ready: () => {
      post({ type: 'ready' });
    },
    close: () => {
      if (process.connected) {
        process.disconnect();
      }
    },
  };
}
