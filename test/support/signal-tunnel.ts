import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export type SignalTunnel = {
  /** ws://… */
  url: string;
  /** Connections break; new ones are taken. */
  cut(): void;
  block(): void;
  unblock(): void;
  /** Resolves when the server sends these bytes. */
  passed(text: string): Promise<void>;
  close(): Promise<void>;
};

/** A TCP forwarder to the signalling port that can be cut; media does not go through it. */
export async function startSignalTunnel(port: string): Promise<SignalTunnel> {
  const sockets = new Set<Socket>();
  const watchers = new Set<(chunk: Buffer) => void>();
  let blocked = false;
  const forwarder = createServer((socket) => {
    if (blocked) {
      socket.destroy();
      return;
    }
    const upstream = connect(Number(port), '127.0.0.1');
    upstream.on('data', (chunk: Buffer) => {
      watchers.forEach((watch) => {
        watch(chunk);
      });
    });
    for (const [from, to] of [
      [socket, upstream],
      [upstream, socket],
    ] as const) {
      sockets.add(from);
      from.pipe(to);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        to.destroy();
        sockets.delete(from);
      });
    }
  });
  await new Promise<void>((resolve) => forwarder.listen(0, '127.0.0.1', resolve));
  const cut = (): void => sockets.forEach((socket) => socket.destroy());
  return {
    url: `ws://127.0.0.1:${(forwarder.address() as AddressInfo).port}`,
    cut,
    block: () => {
      blocked = true;
      cut();
    },
    unblock: () => {
      blocked = false;
    },
    passed: (text) =>
      new Promise((resolve) => {
        const watch = (chunk: Buffer): void => {
          if (chunk.includes(text)) {
            watchers.delete(watch);
            resolve();
          }
        };
        watchers.add(watch);
      }),
    close: async () => {
      cut();
      await new Promise((resolve) => forwarder.close(resolve));
    },
  };
}
