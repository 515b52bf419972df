import { RtcNodeViewer } from './rtc-node-viewer.ts';
import type { SfuServer } from './sfu-server.ts';

/** Viewers of the room "studio" (LiveKit's Rust client), who leave together. */
export class RoomViewers {
  readonly #sfu: SfuServer;
  readonly #viewers: RtcNodeViewer[] = [];

  constructor(sfu: SfuServer) {
    this.#sfu = sfu;
  }

  async join(identity = 'viewer'): Promise<RtcNodeViewer> {
    const viewer = new RtcNodeViewer();
    this.#viewers.push(viewer);
    await viewer.join(this.#sfu.wsUrl, await this.#sfu.joinToken(identity, 'studio'));
    return viewer;
  }

  async close(): Promise<void> {
    await Promise.all(this.#viewers.splice(0).map((viewer) => viewer.close()));
  }
}
