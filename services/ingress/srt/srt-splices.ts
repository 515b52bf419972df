import { ProgramWatch } from '../../media/ts/program-watch.ts';
import { mediaTimeUs } from '../../protocol/splice-info.ts';
import { SpliceSchedule } from '../url/splice-schedule.ts';

/** draft-sharabayko-srt-01 section 3.1. */
const DATA_HEADER_BYTES = 16;
const CONTROL_BIT = 0x80;
const ENCRYPTED_BITS = 0x18;

export type SrtSplicesOptions = {
  /** As SpliceSchedule; '' comes as soon as splices are announced at all, for what an encoder before has left behind. */
  onChange: (eventId: string) => void;
  /** How much later than here the media is played. */
  delayMs: () => number;
};

/**
 * Splice information (SCTE 35) in the datagrams of a publisher, told when the media of its time is played. The reader gives
 * out no other data beside the media unless told beforehand that there is some. Nothing is seen of what is encrypted.
 */
export class SrtSplices {
  readonly #schedule: SpliceSchedule;
  readonly #watch: ProgramWatch;
  readonly #delayMs: () => number;
  #originUs: number | undefined;
  #nowUs = 0;

  constructor({ onChange, delayMs }: SrtSplicesOptions) {
    this.#schedule = new SpliceSchedule(onChange);
    this.#delayMs = delayMs;
    this.#watch = new ProgramWatch({
      onSpliceStream: () => onChange(''),
      onSplice: (section) => {
        // Before the first picture nobody could say when; commands are repeated.
        if (this.#originUs !== undefined) {
          this.#schedule.push(section, this.#originUs, this.#nowUs);
        }
      },
      onTime: (ptsTicks) => this.#onTime(ptsTicks),
    });
  }

  /** Any datagram of the publisher. */
  onDatagram(datagram: Buffer): void {
    if (
      datagram.length > DATA_HEADER_BYTES &&
      (datagram.readUInt8(0) & CONTROL_BIT) === 0 &&
      (datagram.readUInt8(4) & ENCRYPTED_BITS) === 0
    ) {
      this.#watch.push(datagram.subarray(DATA_HEADER_BYTES));
    }
  }

  #onTime(ptsTicks: number): void {
    this.#originUs ??= (ptsTicks / 90_000) * 1e6;
    this.#nowUs = mediaTimeUs(ptsTicks, this.#originUs, this.#nowUs);
    this.#schedule.reached(this.#nowUs - this.#delayMs() * 1000);
  }
}
