import type { RecorderOptions } from '../../services/egress/capture/recorder-protocol.ts';
import { Room, RoomEvent, Track } from 'livekit-client';
import {
  endRecording,
  layoutFromMetadata,
  readPageQuery,
  showError,
  startRecording,
} from '../shared/page-contract.ts';
import { watchLipSync } from './lip-sync.ts';
import { onRoomChange, playRoom, roomTiles } from './room-tiles.ts';
import { StageView } from './stage-view.ts';
import { mayStart } from './start-rule.ts';

const START_POLL_MS = 100;

async function main(): Promise<void> {
  const query = readPageQuery(location.search);
  // Sizes are asked for tile by tile; nothing may pause because nobody "looks" at the tab.
  const room = new Room({ adaptiveStream: false, dynacast: false });
  const view = new StageView(document.getElementById('stage') as HTMLCanvasElement, query.layout);
  globalThis.startCapture = (options) => view.record(options);
  onRoomChange(room, () => view.setTiles(roomTiles(room)));
  playRoom(room, document.body);
  watchLipSync(room, (track, leadMs) => view.setLead(track, leadMs));
  room.on(RoomEvent.ParticipantMetadataChanged, (_previous, participant) => {
    const layout =
      participant === room.localParticipant ? layoutFromMetadata(participant.metadata) : undefined;
    if (layout !== undefined) {
      view.setLayout(layout);
    }
  });
  await room.connect(query.url, query.token, { autoSubscribe: true });
  // Not earlier: a join that fails is told as an error, not as the end of a recording.
  room.on(RoomEvent.Disconnected, (reason) => {
    console.log(`left the room (${reason ?? 'no reason given'})`);
    endRecording();
  });
  view.setLayout(layoutFromMetadata(room.localParticipant.metadata) ?? query.layout);
  startWhenReady(room, view);
}

function startWhenReady(room: Room, view: StageView): void {
  const hasSubscription = stopwatch();
  const hasPicture = stopwatch();
  const timer = setInterval(() => {
    const tracks = [...room.remoteParticipants.values()].flatMap((p) => [...p.trackPublications.values()]);
    const facts = {
      isFlowing: view.isFlowing,
      pictureForMs: hasPicture(view.showsPicture),
      hasVideo: tracks.some((track) => track.kind === Track.Kind.Video && !track.isMuted),
      subscribedForMs: hasSubscription(tracks.some((track) => track.isSubscribed)),
    };
    if (mayStart(facts)) {
      clearInterval(timer);
      startRecording();
    }
  }, START_POLL_MS);
}

/** How long ago a condition was first seen true. */
function stopwatch(): (isTrue: boolean) => number | undefined {
  let sinceMs: number | undefined;
  return (isTrue) => {
    if (isTrue) {
      sinceMs ??= performance.now();
    }
    return sinceMs === undefined ? undefined : performance.now() - sinceMs;
  };
}

declare global {
  /** The egress calls this: the stage records itself, no tab needs to be captured. */
  var startCapture: (options: RecorderOptions) => Promise<{ hasAudio: boolean }>;
}

main().catch((error: unknown) => {
  showError(`could not join the room: ${error instanceof Error ? error.message : String(error)}`);
});
