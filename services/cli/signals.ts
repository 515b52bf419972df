/** Turns SIGINT and SIGTERM into a promise; a second signal ends the process at once. */
export function untilSignal(): { received: Promise<string>; isReceived(): boolean } {
  let first: string | undefined;
  const received = new Promise<string>((resolve) => {
    const onSignal = (name: NodeJS.Signals): void => {
      if (first !== undefined) {
        process.exit(130);
      }
      first = name;
      resolve(name);
    };
    process.on('SIGINT', onSignal);
    process.on('SIGTERM', onSignal);
  });
  return { received, isReceived: () => first !== undefined };
}
