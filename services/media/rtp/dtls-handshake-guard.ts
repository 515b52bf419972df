import { checkDtlsHandshake } from './dtls-handshake-check.ts';
import { DtlsHandshakeOrder, type HandshakeFragment } from './dtls-handshake-order.ts';

const FINISHED = 20;

type Message = { msg_type: number; message_seq: number; fragment: Buffer; serialize: () => Buffer };

/** The parts of werift's DtlsSocket that are needed; declared here because this layer does not import werift. */
export type GuardedDtlsSocket<Received extends Message = Message> = {
  connected: boolean;
  /** Collects pieces of messages and returns those that are whole; werift makes its own objects of them. */
  handleFragmentHandshake(fragments: HandshakeFragment[]): HandshakeFragment[];
  onHandleHandshakes: (messages: Received[]) => Promise<void>;
  readonly dtls: { readonly sortedHandshakeCache: readonly Message[] };
  readonly cipher: {
    readonly masterSecret: Buffer;
    readonly localRandom: { serialize: () => Buffer };
    readonly remoteRandom: { serialize: () => Buffer };
  };
};

/**
 * Gives werift whole handshake messages in order, and puts checkDtlsHandshake() in front of its handling of the remote's
 * Finished. Call it right after creating the DtlsClient or DtlsServer. When a proof fails, the socket's onError fires
 * with a ServiceError `unauthenticated`, and onConnect never does.
 */
export function guardDtlsHandshake<Received extends Message>(
  socket: GuardedDtlsSocket<Received>,
  options: { localRole: 'client' | 'server'; fingerprint: () => string },
): void {
  const order = new DtlsHandshakeOrder();
  socket.handleFragmentHandshake = (fragments) => fragments.flatMap((fragment) => order.take(fragment));
  const handle = socket.onHandleHandshakes;
  socket.onHandleHandshakes = async (received) => {
    // werift sorts what became whole at the same time by type; and it has to be done with these before the next record.
    const inOrder = received.sort((a, b) => a.message_seq - b.message_seq);
    await Promise.all(
      inOrder.map(async (message) => {
        if (message.msg_type === FINISHED && !socket.connected) {
          check(socket, message, options);
        }
        await handle([message]);
      }),
    );
  };
}

function check<Received extends Message>(
  { dtls, cipher }: GuardedDtlsSocket<Received>,
  finished: Message,
  { localRole, fingerprint }: { localRole: 'client' | 'server'; fingerprint: () => string },
): void {
  const local = cipher.localRandom.serialize();
  const remote = cipher.remoteRandom.serialize();
  checkDtlsHandshake({
    remoteRole: localRole === 'server' ? 'client' : 'server',
    // The cache keeps the first message of each kind, so nothing sent later can replace what was signed.
    transcript: dtls.sortedHandshakeCache.map((message) => ({
      type: message.msg_type,
      body: message.fragment,
      bytes: message.serialize(),
    })),
    finished: finished.fragment,
    masterSecret: cipher.masterSecret,
    clientRandom: localRole === 'server' ? remote : local,
    serverRandom: localRole === 'server' ? local : remote,
    fingerprint: fingerprint(),
  });
}
