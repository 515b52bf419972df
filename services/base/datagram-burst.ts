import type { Socket } from 'node:dgram';
import { readSync } from 'node:fs';

/** A datagram this large is a piece of something larger, and the next piece is probably there already. */
const PIECE_BYTES = 1_000;
const MAX_DATAGRAM_BYTES = 65_536;
/** More than this in one go would keep everything else waiting. */
const MAX_PIECES = 64;
/** One for all: what it holds is used up before anything else is read. */
const taken = Buffer.allocUnsafeSlow(MAX_DATAGRAM_BYTES);

/**
 * Takes the rest of a picture straight from the kernel once its first piece has come. Node's own way costs several times
 * as much for each datagram: 64 KiB of memory that it gives back, an object with the sender's address, an event.
 * `each` is not told who sent a datagram, and its memory is used again for the next one.
 */
export class DatagramBurst {
  readonly #socket: Socket;
  #handle: { fd: unknown } | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** To be called with each datagram that Node delivers, after it has been handled. */
  takeRest(first: Uint8Array, each: (datagram: Buffer) => void): void {
    if (first.length < PIECE_BYTES) {
      return;
    }
    this.#handle ??= handleOf(this.#socket);
    let length = PIECE_BYTES;
    for (let pieces = 0; length >= PIECE_BYTES && pieces < MAX_PIECES; pieces += 1) {
      const fd = this.#handle?.fd;
      if (typeof fd !== 'number' || fd < 0) {
        return; // closed meanwhile, or not a socket as Node makes them: it delivers the rest itself
      }
      try {
        length = readSync(fd, taken);
      } catch {
        return; // EAGAIN: that was all
      }
      each(taken.subarray(0, length));
    }
  }
}

/** What Node puts between a socket and libuv; its public name `_handle` warns about being private. */
function handleOf(socket: Socket): { fd: unknown } | undefined {
  const symbol = Object.getOwnPropertySymbols(socket).find((each) => each.description === 'state symbol');
  const state: unknown = symbol === undefined ? undefined : Reflect.get(socket, symbol);
  const handle: unknown =
    typeof state === 'object' && state !== null && 'handle' in state ? state.handle : undefined;
  return typeof handle === 'object' && handle !== null && 'fd' in handle ? handle : undefined;
}
