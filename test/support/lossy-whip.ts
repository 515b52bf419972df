import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SeededRandom } from './seeded-random.ts';

export type LossyWhip = {
  /** Give this one to the encoder. */
  whipUrl: string;
  /** Datagrams, both directions together. */
  readonly passed: number;
  readonly lost: number;
  close(): Promise<void>;
};

/**
 * A network with losses between a WHIP encoder and the services: an HTTP proxy that writes its own UDP port into the
 * answer and takes TCP away, and the relay behind that port. Every datagram is lost with the same probability, in both
 * directions, those of ICE and DTLS included.
 */
export async function startLossyWhip(whipUrl: string, lossPercent: number, seed = 1): Promise<LossyWhip> {
  const target = new URL(whipUrl);
  const random = new SeededRandom(seed);
  const counts = { passed: 0, lost: 0 };
  const isLost = (): boolean => {
    const lost = random.chance(lossPercent / 100);
    counts[lost ? 'lost' : 'passed'] += 1;
    return lost;
  };
  const front = createSocket('udp4');
  /** Towards the services, one for every address of the encoder. */
  const backs = new Map<string, Socket>();
  let mediaPort = 0;
  const openBack = (client: RemoteInfo): Socket => {
    const back = createSocket('udp4');
    back.on('message', (datagram) => {
      if (!isLost()) {
        front.send(datagram, client.port, client.address);
      }
    });
    backs.set(`${client.address}:${client.port}`, back);
    return back;
  };
  front.on('message', (datagram, client) => {
    if (!isLost()) {
      const back = backs.get(`${client.address}:${client.port}`) ?? openBack(client);
      back.send(datagram, mediaPort, '127.0.0.1');
    }
  });
  front.bind(0, '127.0.0.1');
  await once(front, 'listening');
  const relayPort = front.address().port;
  const server = createServer((req, res) => {
    forward(req, res, target).catch(() => res.destroy());
  });
  /** Candidates of the answer lead to the relay. */
  const rewrite = (sdp: string): string =>
    sdp
      .replace(/a=candidate:.* tcp .*\r\n/g, '')
      .replace(/(a=candidate:\S+ 1 udp \d+) \S+ (\d+)/g, (_all, head: string, port: string) => {
        mediaPort = Number(port);
        return `${head} 127.0.0.1 ${relayPort}`;
      });
  async function forward(req: IncomingMessage, res: ServerResponse, { origin }: URL): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of req) {
      chunks.push(chunk as Buffer);
    }
    const headers = Object.fromEntries(
      ['authorization', 'content-type', 'if-match'].flatMap((name) => {
        const value = req.headers[name];
        return typeof value === 'string' ? [[name, value]] : [];
      }),
    );
    const response = await fetch(`${origin}${req.url ?? ''}`, {
      method: req.method ?? 'GET',
      headers,
      ...(chunks.length === 0 ? {} : { body: Buffer.concat(chunks) }),
    });
    const body = rewrite(await response.text());
    const kept = [...response.headers].filter(([name]) => name !== 'content-length' && name !== 'connection');
    res.writeHead(response.status, Object.fromEntries(kept)).end(body);
  }
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    whipUrl: `http://127.0.0.1:${port}${target.pathname}`,
    get passed() {
      return counts.passed;
    },
    get lost() {
      return counts.lost;
    },
    async close() {
      front.close();
      for (const back of backs.values()) {
        back.close();
      }
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
