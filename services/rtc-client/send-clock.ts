import { nowNtpUs } from '../media/rtp/ntp.ts';

/** NTP time of the caller's clock: one mapping for all tracks of a client, so that they line up at receivers. */
export class SendClock {
  #offsetUs: number | undefined;

  toNtpUs(ptsUs: number): number {
    this.#offsetUs ??= nowNtpUs() - ptsUs;
    return ptsUs + this.#offsetUs;
  }
}
