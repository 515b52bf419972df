import type { Logger } from '../../base/logger.ts';
import { allocateLayers, DownlinkCongestion } from './congestion.ts';
import type { TrackForwarder } from './track-forwarder.ts';

/** Caps the layers of one receiver: with too little bandwidth it gets lower layers instead of a frozen picture. */
export class DownlinkAllocation {
  readonly #congestion = new DownlinkCongestion();
  readonly #logger: Logger;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  get rembKbps(): number {
    return this.#congestion.rembKbps;
  }

  onRemb(kbps: number, nowMs: number): void {
    this.#congestion.onRemb(kbps, nowMs);
  }

  /** Called about once a second, after the forwarders have measured what they sent. */
  allocate(forwarders: Iterable<TrackForwarder>, nowMs: number): void {
    const video: TrackForwarder[] = [];
    let sentKbps = 0;
    let audioKbps = 0;
    for (const forwarder of forwarders) {
      if (forwarder.isSending) {
        sentKbps += forwarder.sentKbps;
        if (forwarder.publication.kind === 'video') {
          video.push(forwarder);
        } else {
          audioKbps += forwarder.sentKbps;
        }
      }
    }
    const tracks = video.map(({ publication, maxLayer }) => ({
      layersKbps: publication.layerBitratesKbps(),
      maxLayer,
    }));
    const wantedKbps = tracks.reduce(
      (sum, { layersKbps, maxLayer }) => sum + Math.max(0, ...layersKbps.slice(0, maxLayer + 1)),
      audioKbps,
    );
    const lost = video.reduce((sum, { fractionLost }) => sum + fractionLost, 0);
    const fractionLost = video.length === 0 ? 0 : lost / video.length;
    const before = this.#congestion.limitKbps;
    const limitKbps = this.#congestion.evaluate({ nowMs, sentKbps, wantedKbps, fractionLost });
    if (limitKbps < before) {
      this.#logger.info({ limitKbps, sentKbps, fractionLost }, 'downlink congested');
    }
    const caps = allocateLayers(tracks, Math.max(0, limitKbps - audioKbps));
    video.forEach((forwarder, index) => {
      forwarder.setCapLayer(caps[index] ?? Number.POSITIVE_INFINITY);
    });
  }
}
