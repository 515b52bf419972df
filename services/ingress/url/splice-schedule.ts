import { mediaTimeUs, SpliceReader, type SpliceInsert } from '../../protocol/splice-info.ts';

/** More than any schedule of a channel announces at a time. */
const MAX_PENDING = 64;

type Pending = SpliceInsert & { atUs: number };

/** Announced leaves from the program (SCTE 35), told when playing has come to them. */
export class SpliceSchedule {
  readonly #onChange: (eventId: string) => void;
  readonly #reader = new SpliceReader();
  #pending: Pending[] = [];
  #shown = '';

  /** @param onChange the id of the event the program has left for; '' = it is back. */
  constructor(onChange: (eventId: string) => void) {
    this.#onChange = onChange;
  }

  /**
   * @param sections as they were read. @param originUs media time 0 on the stream's clock.
   * @param readUs media time that was read last: a command without a time counts there.
   */
  push(sections: Uint8Array, originUs: number, readUs: number): void {
    for (const splice of this.#reader.push(sections)) {
      const { eventId, outOfNetwork, cancelled, ptsTicks } = splice;
      // Commands are repeated, and one that comes again may have another time.
      this.#pending = this.#pending.filter(
        (one) => one.eventId !== eventId || (!cancelled && one.outOfNetwork !== outOfNetwork),
      );
      const isOver = cancelled && this.#shown !== String(eventId);
      if (!isOver && this.#pending.length < MAX_PENDING) {
        const atUs = ptsTicks === undefined ? readUs : mediaTimeUs(ptsTicks, originUs, readUs);
        this.#pending.push({ ...splice, atUs });
      }
    }
  }

  /** Playing has come to this media time. */
  reached(mediaUs: number): void {
    if (this.#pending.length === 0) {
      return;
    }
    const due = this.#pending.filter(({ atUs }) => atUs <= mediaUs).sort((a, b) => a.atUs - b.atUs);
    this.#pending = this.#pending.filter(({ atUs }) => atUs > mediaUs);
    for (const { outOfNetwork, eventId } of due) {
      const shown = outOfNetwork ? String(eventId) : '';
      if (shown !== this.#shown) {
        this.#shown = shown;
        this.#onChange(shown);
      }
    }
  }
}
