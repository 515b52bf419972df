import { checkDtlsHandshake } from './dtls-handshake-check.ts';

const HELLO_VERIFY_REQUEST = 3;
const FINISHED = 20;
/** What has to be in the transcript before a client's Finished is looked at: certificate, key exchange, verify. */
const CLIENT_FLIGHT = [11, 16, 15];

type Message = { msg_type: number; fragment: Buffer; serialize: () => Buffer };

/** The parts of werift's DtlsSocket that are needed; declared here because this layer does not import werift. */
export type GuardedDtlsSocket<Received extends Message = Message> = {
  connected: boolean;
  onHandleHandshakes: (messages: Received[]) => Promise<void>;
  readonly dtls: {
    checkHandshakesExist: (types: number[]) => boolean;
    readonly sortedHandshakeCache: readonly Message[];
  };
  readonly cipher: {
    readonly masterSecret: Buffer;
    readonly localRandom: { serialize: () => Buffer };
    readonly remoteRandom: { serialize: () => Buffer };
  };
};

/**
 * Puts checkDtlsHandshake() in front of werift's handling of the remote's Finished. Call it right after creating the
 * DtlsClient or DtlsServer. When a proof fails, the socket's onError fires with a ServiceError `unauthenticated`, and
 * onConnect never does. A HelloVerifyRequest that comes again – we asked twice, as its answer was late – is left out:
 * werift would end the handshake over it.
 */
export function guardDtlsHandshake<Received extends Message>(
  socket: GuardedDtlsSocket<Received>,
  options: { localRole: 'client' | 'server'; fingerprint: () => string },
): void {
  const handle = socket.onHandleHandshakes;
  let isVerified = false;
  socket.onHandleHandshakes = async (received) => {
    const messages = received.filter(({ msg_type: type }) => type !== HELLO_VERIFY_REQUEST || !isVerified);
    isVerified ||= messages.some(({ msg_type: type }) => type === HELLO_VERIFY_REQUEST);
    const finished = messages.find((message) => message.msg_type === FINISHED);
    if (finished !== undefined && !socket.connected) {
      if (options.localRole === 'server' && !socket.dtls.checkHandshakesExist(CLIENT_FLIGHT)) {
        // Something of the flight was lost; the client repeats it as a whole.
        return;
      }
      check(socket, finished, options);
    }
    await handle(messages);
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
