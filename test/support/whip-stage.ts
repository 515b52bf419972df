import { RoomViewers } from './room-viewers.ts';
import type { RtcNodeViewer } from './rtc-node-viewer.ts';
import { startWhipServices, type WhipServices, type WhipServicesOptions } from './whip-services.ts';

export type WhipStage = WhipServices & {
  /** LiveKit's Rust client joins the room. */
  viewer(identity?: string): Promise<RtcNodeViewer>;
};

/** The services and viewers who watch what they do. */
export async function startWhipStage(options: WhipServicesOptions = {}): Promise<WhipStage> {
  const services = await startWhipServices(options);
  const viewers = new RoomViewers(services.sfu);
  return {
    ...services,
    viewer: (identity) => viewers.join(identity),
    async close() {
      await viewers.close();
      await services.close();
    },
  };
}
