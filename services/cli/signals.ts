/** Turns SIGINT and SIGTERM into a promise; a second signal ends the process at once. */
export function untilSignal(): { received: Promise<string> } {
  const received = new Promise<string>((resolve) => {
    let first = true;
    const onSignal = (name: NodeJS.Signals): void => {
      if (!first) {
        process.exit(130);
      }
      first = false;
      resolve(name);
    };
    process.on('SIGINT', onSignal);
    process.on('SIGTERM', onSignal);
  });
  return { received };
}
