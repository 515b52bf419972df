import { setFlagsFromString } from 'node:v8';

/** Of what was in use after the last full collection. */
const HEAP_GROWING_PERCENT = 200;

/**
 * Packets live in buffers that V8 counts as heap but never has to look into; a stream of 6 Mbit/s makes about 3 MB of them
 * a second. Left to itself V8 collects the whole heap after each 8 MB of that, every 2.5 s, with helper threads on all
 * cores: a quarter of what the stream costs. So the heap may grow to three times its size first, as V8 lets heaps grow
 * that change faster. Call once at the start of a process that carries media.
 */
export function letHeapGrow(): void {
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWING_PERCENT}`);
}
