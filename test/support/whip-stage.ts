import { RtcNodeViewer } from './rtc-node-viewer.ts';
import { startWhipServices, type WhipServices, type WhipServicesOptions } from './whip-services.ts';

export type WhipStage = WhipServices & {
  /** LiveKit's Rust client joins the room. */
  viewer(identity?: string): Promise<RtcNodeViewer>;
};

/** The services and viewers who watch what they do. */
export async function startWhipStage(options: WhipServicesOptions = {}): Promise<WhipStage> {
  const services = await startWhipServices(options);
  const { sfu, harness } = services;
  const viewers: RtcNodeViewer[] = [];
  return {
    sfu,
    harness,
    async viewer(identity = 'viewer') {
      const viewer = new RtcNodeViewer();
      viewers.push(viewer);
      await viewer.join(sfu.wsUrl, await sfu.joinToken(identity, 'studio'));
      return viewer;
    },
    async close() {
      await Promise.all(viewers.map((viewer) => viewer.close()));
      await services.close();
    },
  };
}
