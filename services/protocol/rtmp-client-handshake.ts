import { HandshakeReader, simplePacket, withVersion, type HandshakeStep } from './rtmp-handshake-packets.ts';

/** The client side in its simple form, which every platform takes from publishers. S2 is not compared. */
export class ClientHandshake {
  /** C2 echoes S1. */
  readonly #reader = new HandshakeReader((s1) => Buffer.from(s1));

  /** C0 and C1. */
  hello(): Buffer {
    return withVersion(simplePacket());
  }

  /** @throws ServiceError malformed on the first byte that is not RTMP's version. */
  push(data: Uint8Array): HandshakeStep {
    return this.#reader.push(data);
  }
}
