const BLOCK_BYTES = 524_288;
/** Larger ones get memory of their own: they would leave too much of a block unused. */
const MAX_PIECE_BYTES = 131_072;

/**
 * Memory for pieces that live about equally long, like the frames of a stream: one allocation for dozens of them. Each
 * allocation of its own makes the kernel hand out fresh pages, which costs more than what is then copied into them.
 * A block is free when its last piece is.
 */
export class Slab {
  #block = Buffer.alloc(0);
  #used = 0;

  /** Not zeroed. */
  take(bytes: number): Buffer {
    if (bytes > MAX_PIECE_BYTES) {
      return Buffer.allocUnsafeSlow(bytes);
    }
    if (this.#used + bytes > this.#block.length) {
      this.#block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
      this.#used = 0;
    }
    const piece = this.#block.subarray(this.#used, this.#used + bytes);
    this.#used += bytes;
    return piece;
  }
}
