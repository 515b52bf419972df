import { IngressInput, IngressState_Status, type IngressInfo, type IngressState } from '@livekit/protocol';
import { unixNs } from '../base/clock.ts';
import { ServiceError } from '../base/errors.ts';
import { relayRoomName } from '../model/room.ts';
import type { Bus } from './bus.ts';
import { isLiveState } from './ingress-store.ts';
import type { LostWork } from './lease-reaper.ts';
import { IOInfo, RoomInternal } from './rpc-methods.ts';

const TIMEOUT_MS = 5_000;
/** Rooms are a courtesy: LiveKit's own server does not listen there. */
const ROOM_TIMEOUT_MS = 1_000;

/**
 * A session whose node is gone has failed. What it left in its room goes too: a WHIP encoder sends its media to the
 * room's server by itself, would never learn that nobody looks after it, and comes back when its connection ends.
 */
export const LOST_INGRESS: LostWork = {
  kind: 'ingress',
  async report(bus, { id: ingressId, silentMs, isStillLost }) {
    const info = await load(bus, ingressId);
    // A session takes its lease before it has a state: when the encoder is back elsewhere this is its new one.
    if (info?.state === undefined || !isLiveState(info.state) || !(await isStillLost())) {
      return false;
    }
    await bus.request(
      IOInfo.updateIngressState,
      { ingressId, state: failed(info.state, silentMs) },
      { timeoutMs: TIMEOUT_MS },
    );
    await leaveRoom(bus, info, info.state.resourceId);
    return true;
  },
};

async function load(bus: Bus, ingressId: string): Promise<IngressInfo | undefined> {
  try {
    return (await bus.request(IOInfo.getIngressInfo, { ingressId }, { timeoutMs: TIMEOUT_MS })).info;
  } catch (error) {
    if (error instanceof ServiceError && error.code === 'not_found') {
      return undefined;
    }
    throw error;
  }
}

function failed(last: IngressState, silentMs: number): IngressState {
  const state = last.clone();
  const now = unixNs();
  state.status = IngressState_Status.ENDPOINT_ERROR;
  state.error = `ingress node lost: no sign of life for ${Math.round(silentMs / 1000)} s`;
  // The lost node's clock may have run ahead of this one's.
  state.updatedAt = now > last.updatedAt ? now : last.updatedAt + 1n;
  state.endedAt = state.updatedAt;
  return state;
}

async function leaveRoom(bus: Bus, info: IngressInfo, resourceId: string): Promise<void> {
  const options = { timeoutMs: ROOM_TIMEOUT_MS };
  const who = { room: info.roomName, identity: info.participantIdentity };
  if (info.inputType === IngressInput.WHIP_INPUT && info.enableTranscoding === true) {
    const relay = { room: relayRoomName(resourceId) };
    await bus.request(RoomInternal.deleteRoom, relay, options).catch(() => undefined);
  }
  const participant = await bus.request(RoomInternal.getParticipant, who, options).catch(() => undefined);
  if (participant?.attributes['ingress.resourceID'] === resourceId) {
    await bus.request(RoomInternal.removeParticipant, who, options).catch(() => undefined);
  }
}
