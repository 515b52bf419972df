import { randomString } from '../../base/ids.ts';
import { buildStunBinding, verifyIntegrity, type StunBinding } from '../../protocol/stun.ts';

export type RemoteAddress = { address: string; port: number };

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
    const same = current?.address === from.address && current.port === from.port;
    const newest = generation === this.#generations.at(-1);
    const selected = !same && (current === undefined || (request.useCandidate && newest));
    if (selected) {
      this.#selected = { address: from.address, port: from.port };
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

/** One host candidate per advertised address (RFC 8839 §5.1); earlier addresses get the higher priority. */
export function hostCandidates(addresses: readonly string[], port: number): string[] {
  return addresses.map((address, index) => {
    const typePreference = 126;
    const localPreference = 65_535 - index;
    const priority = typePreference * 2 ** 24 + localPreference * 2 ** 8 + 255;
    return `candidate:${index + 1} 1 udp ${priority} ${address} ${port} typ host`;
  });
}
