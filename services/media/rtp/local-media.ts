/**
 * Takes one RTP packet (header, payload, no SRTP) from a sender in the same process. The packet is the sender's: copy
 * what is kept. Never throws.
 */
export type LocalInlet = (packet: Buffer, headerLength: number) => void;

/**
 * Joins peers of one process below SRTP: after both sides have finished ICE and DTLS as usual, a sender that knows the
 * receiver's ICE credentials hands its RTP over directly instead of encrypting it, sending it to this same process and
 * decrypting it there. RTCP, consent checks and data channels stay on the wire, so everything else behaves the same.
 */
export class LocalMedia {
  readonly #inlets = new Map<string, LocalInlet>();

  /** Offers an inlet under the receiver's ICE credentials. Returns the function that withdraws it. */
  open(credentials: { ufrag: string; pwd: string }, inlet: LocalInlet): () => void {
    const key = keyOf(credentials);
    this.#inlets.set(key, inlet);
    return () => {
      this.#inlets.delete(key);
    };
  }

  find(credentials: { ufrag: string; pwd: string }): LocalInlet | undefined {
    return this.#inlets.get(keyOf(credentials));
  }
}

function keyOf({ ufrag, pwd }: { ufrag: string; pwd: string }): string {
  return `${ufrag}:${pwd}`;
}
