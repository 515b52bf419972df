import type { FlvMessage } from './stream-link.ts';

export type MediaQueueLimits = { maxBytes: number; maxUs: number };

/**
 * What waits for one destination. It starts where a decoder can start, and jumps to such a place when the destination
 * is too slow, so that a late viewer sees a gap and never garbage.
 */
export class MediaQueue {
  readonly #limits: MediaQueueLimits;
  #messages: FlvMessage[] = [];
  #bytes = 0;
  #awaitsStart = true;
  #dropped = 0;

  constructor(limits: MediaQueueLimits) {
    this.#limits = limits;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Messages given up because the destination was late. */
  get dropped(): number {
    return this.#dropped;
  }

  get isEmpty(): boolean {
    return this.#messages.length === 0;
  }

  push(message: FlvMessage): void {
    if (this.#awaitsStart && !message.startsDecoding) {
      return;
    }
    this.#awaitsStart = false;
    this.#messages.push(message);
    this.#bytes += message.bytes;
    const waitingUs = message.dtsUs - (this.#messages[0]?.dtsUs ?? message.dtsUs);
    if (this.#bytes > this.#limits.maxBytes || waitingUs > this.#limits.maxUs) {
      this.#catchUp();
    }
  }

  /** The next messages, at least one, as long as they stay below `maxBytes` together. */
  take(maxBytes: number): FlvMessage[] {
    let bytes = 0;
    let count = 0;
    for (const message of this.#messages) {
      if (count > 0 && bytes + message.bytes > maxBytes) {
        break;
      }
      bytes += message.bytes;
      count++;
    }
    this.#bytes -= bytes;
    return this.#messages.splice(0, count);
  }

  /** For a new connection: forgets everything. */
  restart(): void {
    this.#messages = [];
    this.#bytes = 0;
    this.#awaitsStart = true;
  }

  #catchUp(): void {
    const start = this.#messages.findLastIndex((message, index) => index > 0 && message.startsDecoding);
    const kept = start === -1 ? [] : this.#messages.slice(start);
    this.#dropped += this.#messages.length - kept.length;
    this.#messages = kept;
    this.#bytes = kept.reduce((sum, message) => sum + message.bytes, 0);
    this.#awaitsStart = kept.length === 0;
    if (this.#bytes > this.#limits.maxBytes) {
      this.#dropped += kept.length;
      this.restart();
    }
  }
}
