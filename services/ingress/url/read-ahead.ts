/** How far reading runs ahead of playing; whichever comes first. */
const AHEAD_US = 2_000_000;
const AHEAD_BYTES = 16_000_000;

type Timed = { ptsUs: number; data: Uint8Array };

/**
 * Reads ahead of its consumer by two seconds of media, so that neither a slow moment of the source nor the start of
 * the next round is seen.
 */
export async function* readAhead<T extends Timed>(source: AsyncIterator<T>): AsyncGenerator<T, void> {
  const queue: T[] = [];
  let bytes = 0;
  let done = false;
  const failures: unknown[] = [];
  let wakeReader: () => void = () => undefined;
  let wakeConsumer: () => void = () => undefined;
  // The compiler does not see that the other side changes it.
  const isDone = (): boolean => done;
  const isFull = (): boolean => {
    const [first] = queue;
    const last = queue.at(-1);
    return (
      bytes >= AHEAD_BYTES ||
      (first !== undefined && last !== undefined && last.ptsUs - first.ptsUs >= AHEAD_US)
    );
  };
  const read = async (): Promise<void> => {
    try {
      while (!isDone()) {
        while (isFull() && !isDone()) {
          await new Promise<void>((resolve) => {
            wakeReader = resolve;
          });
        }
        const next = await source.next();
        if (next.done === true) {
          break;
        }
        queue.push(next.value);
        bytes += next.value.data.length;
        wakeConsumer();
      }
    } catch (error) {
      failures.push(error);
    } finally {
      done = true;
      wakeConsumer();
    }
  };
  const reading = read();
  try {
    for (;;) {
      const packet = queue.shift();
      if (packet !== undefined) {
        bytes -= packet.data.length;
        wakeReader();
        yield packet;
      } else if (isDone()) {
        break;
      } else {
        await new Promise<void>((resolve) => {
          wakeConsumer = resolve;
        });
      }
    }
  } finally {
    done = true;
    wakeReader();
    await source.return?.();
    await reading;
  }
  if (failures.length > 0) {
    throw failures[0];
  }
}
