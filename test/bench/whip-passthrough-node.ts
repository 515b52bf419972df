import { STREAM_KEY } from '../support/ingress-harness.ts';
import { startWhipServices } from '../support/whip-services.ts';

/** The process under test: SFU and ingress, as `npm start` runs them. */
export type NodeMessage = { type: 'start' } | { type: 'stop' } | { type: 'end' };
export type NodeReply =
  | { type: 'ready'; url: string; bearer: string; wsUrl: string; viewerToken: string }
  | { type: 'started' }
  | { type: 'result'; cpuSeconds: number; bitrateKbps: number };

const services = await startWhipServices();
let before = process.cpuUsage();

process.on('message', (message: NodeMessage) => {
  void handle(message);
});
tell({
  type: 'ready',
  url: services.harness.whipUrl,
  bearer: STREAM_KEY,
  wsUrl: services.sfu.wsUrl,
  viewerToken: await services.sfu.joinToken('viewer', 'studio'),
});

async function handle(message: NodeMessage): Promise<void> {
  switch (message.type) {
    case 'start':
      before = process.cpuUsage();
      tell({ type: 'started' });
      break;
    case 'stop': {
      const { user, system } = process.cpuUsage(before);
      const bitrate = services.harness.states.at(-1)?.video?.averageBitrate ?? 0;
      tell({ type: 'result', cpuSeconds: (user + system) / 1e6, bitrateKbps: Math.round(bitrate / 1000) });
      break;
    }
    case 'end':
      await services.close();
      process.disconnect();
  }
}

function tell(message: NodeReply): void {
  process.send?.(message);
}
