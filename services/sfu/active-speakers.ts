import { SpeakerInfo, SpeakersChanged } from '@livekit/protocol';
import type { ParticipantSession } from './participant-session.ts';

const INTERVAL_MS = 400;
/** Loudest level (−dBov, RFC 6464) that still counts as speaking; LiveKit's default `audio.active_level`. */
const ACTIVE_LEVEL_DBOV = 35;
/** Share of the newest interval in the smoothed loudness. */
const SMOOTHING = 2 / 3;
/** Clients animate with the level: changes below one step are not worth a message. */
const LEVEL_STEPS = 8;

/** Decides who speaks from the audio levels in RTP headers; nothing is decoded. */
export class ActiveSpeakers {
  readonly #participants: () => readonly ParticipantSession[];
  readonly #announce: (changes: SpeakersChanged) => void;
  readonly #timer: NodeJS.Timeout;
  readonly #smoothed = new Map<string, number>();
  readonly #told = new Map<string, number>();

  constructor(options: {
    participants: () => readonly ParticipantSession[];
    announce: (changes: SpeakersChanged) => void;
  }) {
    this.#participants = options.participants;
    this.#announce = options.announce;
    this.#timer = setInterval(() => {
      this.update();
    }, INTERVAL_MS).unref();
  }

  /** Who speaks now, for clients that just came. */
  current(): SpeakerInfo[] {
    return [...this.#told]
      .filter(([, level]) => level > 0)
      .map(([sid, level]) => new SpeakerInfo({ sid, level, active: true }));
  }

  update(): void {
    const changes: SpeakerInfo[] = [];
    const present = new Set<string>();
    for (const participant of this.#participants()) {
      present.add(participant.sid);
      const smoothed =
        loudness(participant) * SMOOTHING + (this.#smoothed.get(participant.sid) ?? 0) * (1 - SMOOTHING);
      this.#smoothed.set(participant.sid, smoothed);
      const level =
        smoothed < linear(ACTIVE_LEVEL_DBOV) ? 0 : Math.ceil(smoothed * LEVEL_STEPS) / LEVEL_STEPS;
      if (level !== (this.#told.get(participant.sid) ?? 0)) {
        this.#told.set(participant.sid, level);
        changes.push(new SpeakerInfo({ sid: participant.sid, level, active: level > 0 }));
      }
    }
    for (const sid of this.#smoothed.keys()) {
      if (!present.has(sid)) {
        this.#smoothed.delete(sid);
        this.#told.delete(sid);
      }
    }
    if (changes.length > 0) {
      this.#announce(new SpeakersChanged({ speakers: changes }));
    }
  }

  close(): void {
    clearInterval(this.#timer);
  }
}

function loudness(participant: ParticipantSession): number {
  let loudest = 127;
  for (const track of participant.publishing.tracks()) {
    const level = track.kind === 'audio' ? track.media?.publication.takeAudioLevel() : undefined;
    if (level !== undefined && !track.muted) {
      loudest = Math.min(loudest, level);
    }
  }
  return loudest === 127 ? 0 : linear(loudest);
}

function linear(dbov: number): number {
  return 10 ** (-dbov / 20);
}
