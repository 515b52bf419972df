import { ParticipantInfo_Kind } from '@livekit/protocol';
import type { MixChannel } from '../../media/audio/mix-lane.ts';
import type { AudioRoute, AudioSelection, VideoSelection } from '../../model/egress-plan.ts';
import type { RemoteTrack } from '../../rtc-client/room-client-types.ts';

/** The track whose picture is recorded now; among equals the last published wins. */
export function chooseVideo(
  tracks: readonly RemoteTrack[],
  selection: VideoSelection,
): RemoteTrack | undefined {
  const videos = tracks.filter((track) => track.kind === 'video');
  switch (selection.from) {
    case 'none':
      return undefined;
    case 'track':
      return videos.find((track) => track.trackSid === selection.trackId);
    case 'participant': {
      const own = videos.filter((track) => track.participantIdentity === selection.identity);
      const screen = own.findLast((track) => track.source === 'screen_share');
      const camera = own.findLast((track) => track.source !== 'screen_share');
      return selection.preferScreenShare ? (screen ?? camera) : camera;
    }
  }
}

/** Says where audio tracks are heard; dual channels are dealt out in the order in which participants appear. */
export class AudioRouting {
  readonly #selection: AudioSelection;
  readonly #sides = new Map<string, MixChannel>();

  constructor(selection: AudioSelection) {
    this.#selection = selection;
  }

  /** Undefined: the track is not recorded. @param participantKind lower case, as the room client names it. */
  channelOf(track: RemoteTrack, participantKind: string): MixChannel | undefined {
    if (track.kind !== 'audio') {
      return undefined;
    }
    const { routes, captureAll, mixing } = this.#selection;
    const route = routes.find(({ match }) => matches(match, track, participantKind));
    if (route === undefined && !captureAll) {
      return undefined;
    }
    switch (mixing) {
      case 'default':
        return route?.channel ?? 'both';
      case 'dual_channel_agent':
        return participantKind === 'agent' ? 'left' : 'right';
      case 'dual_channel_alternate':
        return this.#sideOf(track.participantIdentity);
    }
  }

  #sideOf(identity: string): MixChannel {
    const known = this.#sides.get(identity);
    if (known !== undefined) {
      return known;
    }
    const side = this.#sides.size % 2 === 0 ? 'left' : 'right';
    this.#sides.set(identity, side);
    return side;
  }
}

function matches(match: AudioRoute['match'], track: RemoteTrack, participantKind: string): boolean {
  switch (match.by) {
    case 'track':
      return track.trackSid === match.trackId;
    case 'participant':
      return track.participantIdentity === match.identity && hasSource(track, match.source);
    case 'kind':
      return kindName(match.participantKind) === participantKind;
  }
}

/** Publishers that name no source are taken for microphones. */
function hasSource(
  track: RemoteTrack,
  source: Extract<AudioRoute['match'], { by: 'participant' }>['source'],
): boolean {
  switch (source) {
    case 'any':
      return true;
    case 'microphone':
      return track.source !== 'screen_share_audio';
    case 'screen_share_audio':
      return track.source === 'screen_share_audio';
  }
}

function kindName(participantKind: number): string {
  return ParticipantInfo_Kind[participantKind]?.toLowerCase() ?? '';
}
