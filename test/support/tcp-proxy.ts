import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export type TcpProxy = {
  port: number;
  /** From now on bytes of clients are neither read nor passed on, and nobody is told; new connections too. */
  wedge(): void;
  close(): Promise<void>;
};

const TICK_MS = 20;

/** A network in front of a server on this machine: it can be slow and it can stand still. */
export async function startTcpProxy(
  targetPort: number,
  options: { bytesPerSecond?: number } = {},
): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  let isWedged = false;
  const server = createServer((client) => {
    const target = connect(targetPort, '127.0.0.1');
    for (const socket of [client, target]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => {
        sockets.delete(socket);
        client.destroy();
        target.destroy();
      });
    }
    target.pipe(client);
    const tick = setInterval(() => {
      const wanted = Math.ceil(((options.bytesPerSecond ?? Infinity) * TICK_MS) / 1000);
      const bytes = isWedged ? null : (client.read(Math.min(wanted, client.readableLength)) as Buffer | null);
      if (bytes !== null && bytes.length > 0) {
        target.write(bytes);
      }
    }, TICK_MS);
    client.once('close', () => {
      clearInterval(tick);
    });
    client.on('readable', () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    wedge: () => {
      isWedged = true;
    },
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) {
          socket.destroy();
        }
      }),
  };
}
