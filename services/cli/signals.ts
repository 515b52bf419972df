export type StopSignal = 'SIGINT' | 'SIGTERM';

/**
 * Turns SIGINT and SIGTERM into promises. `received`: the first one. `interrupted`: SIGINT after SIGTERM. Any other
 * further signal ends the process at once.
 */
export function untilSignal(): {
  received: Promise<StopSignal>;
  interrupted: Promise<void>;
  isReceived(): boolean;
} {
  let first: StopSignal | undefined;
  let isInterrupted = false;
  let interrupt: () => void = () => undefined;
  const interrupted = new Promise<void>((resolve) => {
    interrupt = resolve;
  });
  const received = new Promise<StopSignal>((resolve) => {
    const onSignal = (name: StopSignal): void => {
      if (first === undefined) {
        first = name;
        resolve(name);
      } else if (first === 'SIGTERM' && name === 'SIGINT' && !isInterrupted) {
        isInterrupted = true;
        interrupt();
      } else {
        process.exit(130);
      }
    };
    process.on('SIGINT', onSignal);
    process.on('SIGTERM', onSignal);
  });
  return { received, interrupted, isReceived: () => first !== undefined };
}
