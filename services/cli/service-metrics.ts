import type { Metrics } from '../base/metrics/metrics.ts';
import type { Bus } from '../bus/bus.ts';
import { RoomInternal } from '../bus/rpc-methods.ts';

/** What operators watch, under LiveKit's names; docs/metrics.md lists every metric. */
export function observeRooms(metrics: Metrics, bus: Bus): void {
  const rooms = async (): Promise<{ numParticipants: number }[]> =>
    (await bus.request(RoomInternal.listRooms, {})).rooms;
  metrics.observe('livekit_room_total', 'Open rooms.', async () => (await rooms()).length);
  metrics.observe('livekit_participant_total', 'Participants in all rooms.', async () =>
    (await rooms()).reduce((sum, room) => sum + room.numParticipants, 0),
  );
}

export function observeIngress(metrics: Metrics, ingress: { activeIngressIds(): readonly string[] }): void {
  metrics.observe(
    'livekit_ingress_sessions',
    'Ingress sessions with a connected encoder.',
    () => ingress.activeIngressIds().length,
  );
}

export function observeEgress(metrics: Metrics, egress: { jobs(): readonly unknown[] }): void {
  metrics.observe('livekit_egress_available', '1 while this node runs no egress job, else 0.', () =>
    egress.jobs().length === 0 ? 1 : 0,
  );
  metrics.observe('livekit_egress_jobs', 'Egress jobs on this node.', () => egress.jobs().length);
}
