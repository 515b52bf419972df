import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WebhookReceiver, type WebhookEvent } from 'livekit-server-sdk';

export type ReceivedWebhook = { event: WebhookEvent; contentType: string };

export type WebhookSink = {
  url: string;
  /** Everything that carried a valid signature, in order of arrival. */
  received: ReceivedWebhook[];
  /** How often somebody posted something, valid or not. */
  posts(): number;
  /** Resolves with the first event (past ones included) for which `match` holds. */
  event(match: (event: WebhookEvent) => boolean): Promise<WebhookEvent>;
  close(): Promise<void>;
};

/** An HTTP server that checks webhooks with LiveKit's own receiver; `answer` may refuse before they count. */
export async function startWebhookSink(
  apiKey: string,
  apiSecret: string,
  answer: (response: ServerResponse, post: number) => boolean = () => false,
): Promise<WebhookSink> {
  const receiver = new WebhookReceiver(apiKey, apiSecret);
  const received: ReceivedWebhook[] = [];
  const waiting = new Set<() => void>();
  let posts = 0;
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      posts += 1;
      if (answer(response, posts)) {
        return;
      }
      receiver
        .receive(Buffer.concat(chunks).toString(), request.headers.authorization)
        .then((event) => {
          received.push({ event, contentType: request.headers['content-type'] ?? '' });
          response.end();
          waiting.forEach((check) => {
            check();
          });
        })
        .catch(() => response.writeHead(401).end());
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    received,
    posts: () => posts,
    event: (match) =>
      new Promise((resolve) => {
        const check = (): void => {
          const found = received.find(({ event }) => match(event));
          if (found !== undefined) {
            waiting.delete(check);
            resolve(found.event);
          }
        };
        waiting.add(check);
        check();
      }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
