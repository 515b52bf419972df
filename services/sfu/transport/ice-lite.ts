import { randomString } from '../../base/ids.ts';
import { buildStunBinding, verifyIntegrity, type StunBinding } from '../../protocol/stun.ts';

export type RemoteAddress = {
  address: string;
  port: number;
  /** The TCP connection from there; undefined = UDP. */
  stream?: { send(packet: Uint8Array): void };
};

/** RFC 8445 §5.3 asks for 24 and 128 bits; a letter of our alphabet carries 5.8. */
const UFRAG_LENGTH = 8;
const PASSWORD_LENGTH = 32;
/** The current credentials and, during an ICE restart, the previous ones. */
const MAX_GENERATIONS = 2;

export type BindingOutcome = {
  response: Buffer;
  /** True when this address is now the one to send to. */
  selected: boolean;
};

/**
 * The lite side of ICE (RFC 8445 §2.5) for one peer: it only answers checks. The peer is the controlling side, it probes,
 * nominates, and keeps the path alive; no answerable check for a while means the peer is gone.
 */
export class IceLiteAgent {
  /** Oldest first. */
  readonly #generations: { ufrag: string; password: string }[] = [];
  #selected: RemoteAddress | undefined;
  #lastCheckMs: number;

  constructor(nowMs: number) {
    this.#lastCheckMs = nowMs;
    this.restart();
  }

  get ufrag(): string {
    return this.#generations.at(-1)?.ufrag ?? '';
  }

  get password(): string {
    return this.#generations.at(-1)?.password ?? '';
  }

  get ufrags(): string[] {
    return this.#generations.map(({ ufrag }) => ufrag);
  }

  /** Where to send; undefined before the first valid check. */
  get selected(): RemoteAddress | undefined {
    return this.#selected;
  }

  /** Monotonic milliseconds of the last authenticated check or media (RFC 7675: consent). */
  get lastCheckMs(): number {
    return this.#lastCheckMs;
  }

  /** The peer has proved in another way than by a check that it is there. */
  heard(nowMs: number): void {
    this.#lastCheckMs = nowMs;
  }

  /** The TCP connection is gone: the next valid check says where the peer is. */
  streamLost(stream: RemoteAddress['stream']): void {
    if (this.#selected?.stream === stream) {
      this.#selected = undefined;
    }
  }

  /** New credentials; the previous ones stay valid until the peer has moved (make before break). */
  restart(): void {
    this.#generations.push({
      ufrag: randomString(UFRAG_LENGTH),
      password: randomString(PASSWORD_LENGTH),
    });
    if (this.#generations.length > MAX_GENERATIONS) {
      this.#generations.shift();
    }
  }

  /**
   * Judges one binding request whose USERNAME begins with one of our ufrags. Undefined when it is not authentic.
   * The first valid address is used at once, later ones when the peer nominates them.
   */
  handleRequest(
    datagram: Buffer,
    request: StunBinding,
    from: RemoteAddress,
    nowMs: number,
  ): BindingOutcome | undefined {
    const ufrag = request.username.split(':', 1)[0];
    const generation = this.#generations.find((known) => known.ufrag === ufrag);
    if (generation === undefined || !verifyIntegrity(datagram, request, generation.password)) {
      return undefined;
    }
    this.#lastCheckMs = nowMs;
    const current = this.#selected;
    const same =
      current?.address === from.address && current.port === from.port && current.stream === from.stream;
    const newest = generation === this.#generations.at(-1);
    const selected = !same && (current === undefined || (request.useCandidate && newest));
    if (selected) {
      this.#selected = { ...from };
    }
    if (request.useCandidate && newest && this.#generations.length > 1) {
      this.#generations.shift();
    }
    return {
      selected,
      response: buildStunBinding({
        class: 'success',
        transactionId: request.transactionId,
        password: generation.password,
        xorMappedAddress: from,
      }),
    };
  }
}

/** RFC 8445 section 5.1.2.2; TCP only when UDP does not work (RFC 6544 section 4.2, and what browsers use for it). */
const TYPE_PREFERENCE = { udp: 126, tcp: 90 } as const;
/** RFC 6544 section 4.2: the upper three bits of a TCP candidate's local preference; 4 = passive host. */
const PASSIVE_DIRECTION = 4;

/**
 * One host candidate per advertised address and protocol (RFC 8839 section 5.1); earlier addresses get the higher
 * priority. UDP comes first: FFmpeg's WHIP muxer looks at the first candidate only.
 * @param tcpPort undefined: no TCP.
 */
export function hostCandidates(
  addresses: readonly string[],
  udpPort: number,
  tcpPort?: number,
): readonly string[] {
  const udp = addresses.map((address, index) => {
    const priority = priorityOf('udp', 65_535 - index);
    return `candidate:${index + 1} 1 udp ${priority} ${address} ${udpPort} typ host`;
  });
  const tcp = addresses.map((address, index) => {
    const priority = priorityOf('tcp', PASSIVE_DIRECTION * 2 ** 13 + 8_191 - index);
    const foundation = addresses.length + index + 1;
    return `candidate:${foundation} 1 tcp ${priority} ${address} ${tcpPort} typ host tcptype passive`;
  });
  return tcpPort === undefined ? udp : [...udp, ...tcp];
}

function priorityOf(protocol: keyof typeof TYPE_PREFERENCE, localPreference: number): number {
  return TYPE_PREFERENCE[protocol] * 2 ** 24 + localPreference * 2 ** 8 + 255;
}
