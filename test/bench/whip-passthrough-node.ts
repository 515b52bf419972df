import { letHeapGrow } from '../../services/base/process/heap-growth.ts';
import { STREAM_KEY } from '../support/ingress-harness.ts';
import { startWhipServices } from '../support/whip-services.ts';

/** The process under test: SFU and ingress, as `npm start` runs them. */
export type NodeMessage = { type: 'report' } | { type: 'end' };
export type NodeReply =
  | { type: 'ready'; url: string; bearer: string; wsUrl: string; viewerToken: string }
  | { type: 'result'; bitrateKbps: number };

letHeapGrow();
const services = await startWhipServices();

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
    case 'report': {
      const bitrate = services.harness.states.at(-1)?.video?.averageBitrate ?? 0;
      tell({ type: 'result', bitrateKbps: Math.round(bitrate / 1000) });
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
