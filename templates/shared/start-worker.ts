const WORKER_START_TIMEOUT_MS = 10_000;

/**
 * Hands the worker its first message and waits until it says `{ ready: true }`.
 * @throws Error with what the worker says is wrong.
 */
export async function startWorker(worker: Worker, message: unknown, transfer: Transferable[]): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error('recorder worker did not start')),
      WORKER_START_TIMEOUT_MS,
    );
    worker.addEventListener('message', (event: MessageEvent<{ ready?: true; error?: string }>) => {
      const { ready, error } = event.data;
      if (ready !== undefined || error !== undefined) {
        clearTimeout(timer);
      }
      if (error !== undefined) {
        reject(new Error(error));
      } else if (ready !== undefined) {
        resolve();
      }
    });
    worker.addEventListener('error', (event) => reject(new Error(event.message)));
    worker.postMessage(message, transfer);
  });
}
