import { monotonicUs } from '../base/clock.ts';
import { extensionText, rtpPayloadType, rtpSsrc } from '../media/rtp/rtp-header.ts';
import { MID_EXTENSION_ID } from './media-sections.ts';
import type { ReceiveStream } from './receive-stream.ts';

/** Where the packets of one receiving section go. */
export type ReceiveRoute = {
  mid: string;
  payloadType: number;
  rtxPayloadType: number;
  stream: ReceiveStream;
};

type Target = { route: ReceiveRoute; rtx: boolean };

/** SSRCs learnt from packets; bounds what a sender can make us remember. */
const MAX_SSRCS = 1024;

/** Finds the stream of a packet: by SSRC, else by MID extension, else by a payload type only one section uses. */
export class RtpRouter {
  readonly #bySsrc = new Map<number, Target>();
  readonly #byMid = new Map<string, ReceiveRoute>();

  /** SSRCs from the answer; 0 = not announced. */
  add(route: ReceiveRoute, ssrc: number, rtxSsrc: number): void {
    this.remove(route.mid);
    this.#byMid.set(route.mid, route);
    if (ssrc !== 0) {
      this.#bySsrc.set(ssrc, { route, rtx: false });
    }
    if (rtxSsrc !== 0) {
      this.#bySsrc.set(rtxSsrc, { route, rtx: true });
      route.stream.setRtxSsrc(rtxSsrc);
    }
  }

  remove(mid: string): void {
    const route = this.#byMid.get(mid);
    this.#byMid.delete(mid);
    for (const [ssrc, target] of [...this.#bySsrc]) {
      if (target.route === route) {
        this.#bySsrc.delete(ssrc);
      }
    }
  }

  stream(ssrc: number): ReceiveStream | undefined {
    return this.#bySsrc.get(ssrc)?.route.stream;
  }

  streams(): ReceiveStream[] {
    return [...this.#byMid.values()].map(({ stream }) => stream);
  }

  route(packet: Buffer, payload: Buffer): void {
    const ssrc = rtpSsrc(packet);
    const target = this.#bySsrc.get(ssrc) ?? this.#learn(packet, ssrc);
    if (target === undefined) {
      return;
    }
    const arrivalUs = monotonicUs();
    if (target.rtx) {
      target.route.stream.onRtxPacket(packet, payload, arrivalUs);
    } else {
      target.route.stream.onPacket(packet, payload, arrivalUs);
    }
  }

  #learn(packet: Buffer, ssrc: number): Target | undefined {
    const payloadType = rtpPayloadType(packet);
    const matches = (route: ReceiveRoute): boolean =>
      payloadType === route.payloadType ||
      (route.rtxPayloadType !== 0 && payloadType === route.rtxPayloadType);
    const mid = extensionText(packet, MID_EXTENSION_ID);
    let route = mid === '' ? undefined : this.#byMid.get(mid);
    if (route === undefined && mid === '') {
      const candidates = [...this.#byMid.values()].filter(matches);
      route = candidates.length === 1 ? candidates[0] : undefined;
    }
    if (route === undefined || !matches(route) || this.#bySsrc.size >= MAX_SSRCS) {
      return undefined;
    }
    const target = { route, rtx: payloadType !== route.payloadType };
    this.#bySsrc.set(ssrc, target);
    if (target.rtx) {
      route.stream.setRtxSsrc(ssrc);
    } else {
      route.stream.setSsrc(ssrc);
    }
    return target;
  }
}
