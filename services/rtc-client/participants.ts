/* eslint-disable @typescript-eslint/no-deprecated -- servers in the field still fill these fields */
import {
  ParticipantInfo_Kind,
  ParticipantInfo_State,
  TrackSource,
  TrackType,
  type ParticipantInfo,
  type TrackInfo,
} from '@livekit/protocol';
import type { AudioCodec, VideoCodec } from '../model/packet.ts';
import type { RemoteTrack, TrackSourceName } from './room-client-types.ts';

export type Participant = {
  identity: string;
  sid: string;
  name: string;
  /** Lower case: standard, ingress, egress, sip, agent… */
  kind: string;
};

export type ParticipantChanges = {
  joined: (participant: Participant) => void;
  left: (participant: Participant) => void;
  trackPublished: (track: RemoteTrack) => void;
  trackUnpublished: (track: RemoteTrack) => void;
  trackMuted: (track: RemoteTrack, muted: boolean) => void;
};

const SOURCES: Readonly<Record<TrackSource, TrackSourceName>> = {
  [TrackSource.UNKNOWN]: 'unknown',
  [TrackSource.CAMERA]: 'camera',
  [TrackSource.MICROPHONE]: 'microphone',
  [TrackSource.SCREEN_SHARE]: 'screen_share',
  [TrackSource.SCREEN_SHARE_AUDIO]: 'screen_share_audio',
};

export const TRACK_SOURCE_TO_WIRE: Readonly<Record<TrackSourceName, TrackSource>> = {
  unknown: TrackSource.UNKNOWN,
  camera: TrackSource.CAMERA,
  microphone: TrackSource.MICROPHONE,
  screen_share: TrackSource.SCREEN_SHARE,
  screen_share_audio: TrackSource.SCREEN_SHARE_AUDIO,
};

const CODECS_BY_MIME: Readonly<Record<string, VideoCodec | AudioCodec>> = {
  'video/vp8': 'vp8',
  'video/vp9': 'vp9',
  'video/h264': 'h264',
  'video/h265': 'h265',
  'video/av1': 'av1',
  'audio/opus': 'opus',
  // Redundant Opus: without RED in the offer the server sends plain Opus.
  'audio/red': 'opus',
  'audio/pcmu': 'pcmu',
  'audio/pcma': 'pcma',
};

type Entry = { participant: Participant; version: number; tracks: Map<string, RemoteTrack> };

function toRemoteTrack(info: TrackInfo, owner: Participant): RemoteTrack {
  const kind = info.type === TrackType.VIDEO ? 'video' : 'audio';
  const mime = (info.mimeType || (info.codecs[0]?.mimeType ?? '')).toLowerCase();
  const largest = info.layers.reduce((best, layer) => (layer.width > best.width ? layer : best), {
    width: info.width,
    height: info.height,
  });
  return {
    trackSid: info.sid,
    kind,
    codec: CODECS_BY_MIME[mime] ?? (kind === 'video' ? 'vp8' : 'opus'),
    source: SOURCES[info.source],
    name: info.name,
    width: kind === 'video' ? largest.width : 0,
    height: kind === 'video' ? largest.height : 0,
    muted: info.muted,
    participantIdentity: owner.identity,
    participantSid: owner.sid,
  };
}

/** The other participants of the room and their tracks, kept from the server's updates. */
export class Participants {
  readonly #entries = new Map<string, Entry>();
  readonly #changes: ParticipantChanges;

  constructor(changes: ParticipantChanges) {
    this.#changes = changes;
  }

  list(): Participant[] {
    return [...this.#entries.values()].map(({ participant }) => participant);
  }

  tracks(): RemoteTrack[] {
    return [...this.#entries.values()].flatMap(({ tracks }) => [...tracks.values()]);
  }

  track(trackSid: string): RemoteTrack | undefined {
    return this.tracks().find((track) => track.trackSid === trackSid);
  }

  /** Everybody that is not listed has left (join response after a restart). */
  replaceAll(infos: readonly ParticipantInfo[]): void {
    const present = new Set(infos.map((info) => info.sid));
    for (const sid of [...this.#entries.keys()]) {
      if (!present.has(sid)) {
        this.#remove(sid);
      }
    }
    this.update(infos);
  }

  update(infos: readonly ParticipantInfo[]): void {
    for (const info of infos) {
      this.#updateOne(info);
    }
  }

  #updateOne(info: ParticipantInfo): void {
    const known = this.#entries.get(info.sid);
    if (info.state === ParticipantInfo_State.DISCONNECTED) {
      this.#remove(info.sid);
      return;
    }
    if (known !== undefined && info.version !== 0 && info.version < known.version) {
      return;
    }
    const participant: Participant = {
      identity: info.identity,
      sid: info.sid,
      name: info.name,
      kind: (ParticipantInfo_Kind[info.kind] as string | undefined)?.toLowerCase() ?? 'standard',
    };
    if (known === undefined) {
      // The same identity with a new session: the old one is gone even if its update is still under way.
      for (const [sid, entry] of [...this.#entries]) {
        if (entry.participant.identity === info.identity) {
          this.#remove(sid);
        }
      }
    }
    const entry: Entry = known ?? { participant, version: info.version, tracks: new Map() };
    entry.participant = participant;
    entry.version = info.version;
    if (known === undefined) {
      this.#entries.set(info.sid, entry);
      this.#changes.joined(participant);
    }
    this.#updateTracks(entry, info.tracks);
  }

  #updateTracks(entry: Entry, infos: readonly TrackInfo[]): void {
    const media = infos.filter((info) => info.type === TrackType.AUDIO || info.type === TrackType.VIDEO);
    const present = new Set(media.map((info) => info.sid));
    for (const [sid, track] of [...entry.tracks]) {
      if (!present.has(sid)) {
        entry.tracks.delete(sid);
        this.#changes.trackUnpublished(track);
      }
    }
    for (const info of media) {
      const before = entry.tracks.get(info.sid);
      const track = toRemoteTrack(info, entry.participant);
      if (before === undefined) {
        entry.tracks.set(info.sid, track);
        this.#changes.trackPublished(track);
        continue;
      }
      const wasMuted = before.muted;
      // Subscriptions hold this object: it is updated, not replaced.
      Object.assign(before, track);
      if (wasMuted !== track.muted) {
        this.#changes.trackMuted(before, track.muted);
      }
    }
  }

  #remove(sid: string): void {
    const entry = this.#entries.get(sid);
    if (entry === undefined) {
      return;
    }
    this.#entries.delete(sid);
    for (const track of entry.tracks.values()) {
      this.#changes.trackUnpublished(track);
    }
    this.#changes.left(entry.participant);
  }
}
