import { findClientDigest, signedAnswer } from './rtmp-digest.ts';
import { HandshakeReader, simplePacket, withVersion, type HandshakeStep } from './rtmp-handshake-packets.ts';

/**
 * The server side. A C1 with a digest (Flash, FMLE, ffmpeg) is answered with digests, any other one with its echo;
 * C2 is not compared, since several encoders fill it with garbage.
 */
export class ServerHandshake {
  readonly #reader = new HandshakeReader(answer);

  /** @throws ServiceError malformed on the first byte that is not RTMP's version. */
  push(data: Uint8Array): HandshakeStep {
    return this.#reader.push(data);
  }
}

/** S0, S1 and S2. */
function answer(c1: Buffer): Buffer {
  const client = findClientDigest(c1);
  if (client !== undefined) {
    const { s1, s2 } = signedAnswer(client);
    return withVersion(s1, s2);
  }
  return withVersion(simplePacket(), c1);
}
