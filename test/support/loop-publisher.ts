import { createLogger } from '../../services/base/logger.ts';
import type { AudioFormat, EncodedPacket, VideoFormat } from '../../services/model/packet.ts';
import { connectRoom } from '../../services/rtc-client/room-client.ts';
import type {
  RoomClient,
  TrackPublisher,
  TrackSourceName,
} from '../../services/rtc-client/room-client-types.ts';
import type { SfuServer } from './sfu-server.ts';

export type LoopTrack = { format: VideoFormat | AudioFormat; packets: EncodedPacket[] };
export type LoopPublication = {
  readonly trackSid: string;
  /** Goes on with other packets of the same codec from their first key frame. */
  swap(track: LoopTrack): void;
  setMuted(muted: boolean): void;
  unpublish(): Promise<void>;
};

type Lane = {
  publisher: TrackPublisher;
  packets: EncodedPacket[];
  muted: boolean;
  next: number;
  /** Session time of the first packet of this turn. */
  turnUs: number;
};

const TICK_MS = 10;

/** A participant that publishes encoded tracks in loops, all on one clock; a key frame begins every turn. */
export class LoopPublisher {
  readonly client: RoomClient;
  readonly #lanes = new Set<Lane>();
  readonly #timer: NodeJS.Timeout;

  private constructor(client: RoomClient) {
    this.client = client;
    this.#timer = setInterval(() => {
      this.#tick();
    }, TICK_MS);
  }

  static async join(
    server: Pick<SfuServer, 'wsUrl' | 'joinToken'>,
    identity: string,
    room: string,
    options: Parameters<SfuServer['joinToken']>[2] = {},
  ): Promise<LoopPublisher> {
    const token = await server.joinToken(identity, room, options);
    const logger = createLogger({ level: 'silent' });
    return new LoopPublisher(await connectRoom({ url: server.wsUrl, token, autoSubscribe: false, logger }));
  }

  async publish(
    track: LoopTrack,
    source: TrackSourceName = track.format.kind === 'video' ? 'camera' : 'microphone',
  ): Promise<LoopPublication> {
    const { format } = track;
    const publisher = await this.client.publish({ format, name: source, source });
    const lane: Lane = { publisher, packets: track.packets, muted: false, next: 0, turnUs: nowUs() };
    // Whoever joins in the middle asks for a key frame: the loop starts over.
    publisher.events.on('keyframeRequested', () => {
      restart(lane);
    });
    this.#lanes.add(lane);
    return {
      trackSid: publisher.trackSid,
      swap: ({ packets }) => {
        lane.packets = packets;
        restart(lane);
      },
      setMuted: (muted) => {
        lane.muted = muted;
        publisher.setMuted(muted);
        restart(lane);
      },
      unpublish: async () => {
        this.#lanes.delete(lane);
        await publisher.unpublish();
      },
    };
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.client.close('test over');
  }

  #tick(): void {
    const now = nowUs();
    for (const lane of this.#lanes) {
      for (let packet = due(lane, now); packet !== undefined; packet = due(lane, now)) {
        const ptsUs = lane.turnUs + packet.ptsUs;
        if (!lane.muted) {
          lane.publisher.write({ ...packet, ptsUs, dtsUs: ptsUs });
        }
      }
    }
  }
}

function due(lane: Lane, now: number): EncodedPacket | undefined {
  const packet = lane.packets[lane.next];
  if (packet === undefined) {
    const last = lane.packets.at(-1);
    lane.turnUs += (last?.ptsUs ?? 0) + (last?.durationUs ?? 20_000);
    lane.next = 0;
    return lane.packets.length === 0 ? undefined : due(lane, now);
  }
  if (lane.turnUs + packet.ptsUs > now) {
    return undefined;
  }
  lane.next += 1;
  return packet;
}

/** Sound is the same everywhere; pictures go back to the key frame in front. */
function restart(lane: Lane): void {
  const upcoming = lane.packets[lane.next];
  if (lane.packets[0]?.kind === 'video') {
    lane.turnUs = upcoming === undefined ? nowUs() : Math.max(nowUs(), lane.turnUs + upcoming.ptsUs);
    lane.next = 0;
  }
}

function nowUs(): number {
  return Math.round(performance.now() * 1000);
}
