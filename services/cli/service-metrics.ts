import { cpus } from 'node:os';
import type { Metrics } from '../base/metrics/metrics.ts';
import type { Bus } from '../bus/bus.ts';
import { RoomInternal } from '../bus/rpc-methods.ts';
import type { IngressWork } from '../ingress/admission.ts';
import type { IngressKind, OnPacketLatency } from '../ingress/packet-latency.ts';

/** What operators watch, under LiveKit's names; docs/metrics.md lists every metric. */
export function observeRooms(metrics: Metrics, bus: Bus): void {
  const rooms = async (): Promise<{ numParticipants: number }[]> =>
    (await bus.request(RoomInternal.listRooms, {})).rooms;
  metrics.observe('livekit_room_total', 'Open rooms.', async () => (await rooms()).length);
  metrics.observe('livekit_participant_total', 'Participants in all rooms.', async () =>
    (await rooms()).reduce((sum, room) => sum + room.numParticipants, 0),
  );
}

/** LiveKit's "transcoding" of a session: what it does with the picture. */
const REQUESTS: Readonly<Record<IngressWork, { type: string; transcoding: 'true' | 'false' }>> = {
  rtmp: { type: 'rtmp', transcoding: 'false' },
  rtmpTranscoding: { type: 'rtmp', transcoding: 'true' },
  srt: { type: 'srt', transcoding: 'false' },
  whip: { type: 'whip', transcoding: 'true' },
  whipBypassTranscoding: { type: 'whip', transcoding: 'false' },
  url: { type: 'url', transcoding: 'false' },
  urlTranscoding: { type: 'url', transcoding: 'true' },
};

export type ObservedIngress = {
  activeIngressIds(): readonly string[];
  work(): readonly IngressWork[];
  isAvailable(): boolean;
};

export function observeIngress(metrics: Metrics, ingress: ObservedIngress): void {
  metrics.observe('livekit_ingress_available', '1 while another RTMP stream would be taken, else 0.', () =>
    ingress.isAvailable() ? 1 : 0,
  );
  metrics.observeEach('livekit_ingress_requests', 'Running sessions.', ['type', 'transcoding'], () =>
    Object.entries(REQUESTS).map(([work, labels]) => ({
      labels,
      value: ingress.work().filter((one) => one === work).length,
    })),
  );
  const load = cpuLoad();
  metrics.observeEach(
    'livekit_node_cpu_load',
    'Share of all cores in use since the last scrape.',
    ['node_type'],
    () => [{ labels: { node_type: 'INGRESS' }, value: load() }],
  );
  metrics.observe(
    'livekit_ingress_sessions',
    'Ingress sessions with a connected encoder.',
    () => ingress.activeIngressIds().length,
  );
}

/** Counts every attempt to publish under LiveKit's name. */
export function countPublishing(metrics: Metrics): (type: 'rtmp' | 'srt' | 'whip', status: string) => void {
  const counter = metrics.counter('livekit_ingress_publish_status', 'Attempts to publish.', [
    'type',
    'status',
  ]);
  return (type, status) => {
    counter.inc({ type, status });
  };
}

/** 5 ms and twice as much eleven times, as LiveKit has them. */
const LATENCY_BUCKETS_S = Array.from({ length: 12 }, (_, power) => 0.005 * 2 ** power);
/** Every packet of an ingress on its way into a room, under LiveKit's name. */
export function observePacketLatency(metrics: Metrics): OnPacketLatency {
  const histogram = metrics.histogram(
    'livekit_ingress_packet_latency_seconds',
    'How much later than their time packets leave for the room.',
    LATENCY_BUCKETS_S,
    ['track', 'ingress_type'],
  );
  // Looked up once, not for every packet.
  const seriesOf = (input: IngressKind) => ({
    audio: histogram.labels({ track: 'audio', ingress_type: input }),
    video: histogram.labels({ track: 'video', ingress_type: input }),
  });
  const series = {
    rtmp: seriesOf('rtmp'),
    srt: seriesOf('srt'),
    whip: seriesOf('whip'),
    url: seriesOf('url'),
  };
  return (input, track, latencyUs) => {
    series[input][track].observe(Math.max(0, latencyUs) / 1e6);
  };
}

/** Of the whole machine, 0 … 1, since the call before. */
function cpuLoad(): () => number {
  const read = (): { busy: number; all: number } =>
    cpus().reduce(
      (sum, { times }) => {
        const all = times.user + times.nice + times.sys + times.idle + times.irq;
        return { busy: sum.busy + all - times.idle, all: sum.all + all };
      },
      { busy: 0, all: 0 },
    );
  let before = read();
  return () => {
    const now = read();
    const all = now.all - before.all;
    const load = all === 0 ? 0 : (now.busy - before.busy) / all;
    before = now;
    return load;
  };
}

export function observeEgress(metrics: Metrics, egress: { jobs(): readonly unknown[] }): void {
  metrics.observe('livekit_egress_available', '1 while this node runs no egress job, else 0.', () =>
    egress.jobs().length === 0 ? 1 : 0,
  );
  metrics.observe('livekit_egress_jobs', 'Egress jobs on this node.', () => egress.jobs().length);
}
