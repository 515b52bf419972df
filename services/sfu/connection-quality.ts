import { ConnectionQuality, ConnectionQualityInfo, ConnectionQualityUpdate } from '@livekit/protocol';
import type { Publication } from './media-types.ts';
import type { ParticipantSession } from './participant-session.ts';

/** LiveKit's reporting interval. */
const INTERVAL_MS = 5000;

/** Worst loss of a grade, best grade first. Scores are LiveKit's 5-point scale. */
const GRADES = [
  { maxLoss: 0.02, quality: ConnectionQuality.EXCELLENT, score: 4.5 },
  { maxLoss: 0.08, quality: ConnectionQuality.GOOD, score: 3.5 },
  { maxLoss: 1, quality: ConnectionQuality.POOR, score: 2 },
] as const;
const LOST = { quality: ConnectionQuality.LOST, score: 1 } as const;

type Counters = { packets: number; lost: number };

/** Grades every participant's connection by the loss on its way in and out, and tells the room about changes. */
export class ConnectionQualities {
  readonly #participants: () => readonly ParticipantSession[];
  readonly #timer: NodeJS.Timeout;
  readonly #counted = new WeakMap<Publication, Counters>();
  /** receiver → participant sid → what it was told. */
  readonly #told = new WeakMap<ParticipantSession, Map<string, ConnectionQuality>>();

  constructor(options: { participants: () => readonly ParticipantSession[] }) {
    this.#participants = options.participants;
    this.#timer = setInterval(() => {
      this.update();
    }, INTERVAL_MS).unref();
  }

  update(): void {
    const infos = new Map<ParticipantSession, ConnectionQualityInfo>();
    for (const participant of this.#participants()) {
      if (participant.state === 'active') {
        infos.set(participant, this.#grade(participant));
      }
    }
    for (const receiver of this.#participants()) {
      const told = this.#told.get(receiver) ?? new Map<string, ConnectionQuality>();
      this.#told.set(receiver, told);
      const updates: ConnectionQualityInfo[] = [];
      for (const [participant, info] of infos) {
        const visible = participant === receiver || !participant.isHidden;
        if (visible && told.get(participant.sid) !== info.quality) {
          told.set(participant.sid, info.quality);
          updates.push(info);
        }
      }
      if (updates.length > 0) {
        receiver.send({ case: 'connectionQuality', value: new ConnectionQualityUpdate({ updates }) });
      }
    }
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #grade(participant: ParticipantSession): ConnectionQualityInfo {
    if (participant.transport.state !== 'connected') {
      return new ConnectionQualityInfo({ participantSid: participant.sid, ...LOST });
    }
    const loss = Math.max(this.#uplinkLoss(participant), downlinkLoss(participant));
    const grade = GRADES.find(({ maxLoss }) => loss <= maxLoss) ?? GRADES[2];
    return new ConnectionQualityInfo({
      participantSid: participant.sid,
      quality: grade.quality,
      score: grade.score,
    });
  }

  #uplinkLoss(participant: ParticipantSession): number {
    let worst = 0;
    for (const track of participant.publishing.tracks()) {
      const publication = track.media?.publication;
      if (publication !== undefined) {
        const now = { packets: 0, lost: 0 };
        for (const layer of publication.layers()) {
          now.packets += layer.packets;
          now.lost += layer.lost;
        }
        const before = this.#counted.get(publication) ?? { packets: 0, lost: 0 };
        this.#counted.set(publication, now);
        const lost = Math.max(0, now.lost - before.lost);
        const received = Math.max(0, now.packets - before.packets);
        worst = Math.max(worst, lost + received === 0 ? 0 : lost / (lost + received));
      }
    }
    return worst;
  }
}

function downlinkLoss(participant: ParticipantSession): number {
  let worst = 0;
  for (const { forwarder } of participant.subscriptions.all()) {
    worst = Math.max(worst, forwarder?.stats().fractionLost ?? 0);
  }
  return worst;
}
