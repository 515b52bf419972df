import type { Message, MessageType, PartialMessage } from '@bufbuild/protobuf';
import * as livekit from '@livekit/protocol';
import { ServiceError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import type { Bus } from '../bus/bus.ts';
import { isEnded, type EgressStore } from '../bus/egress-store.ts';
import type { RpcStartEgressRequest } from '../bus/rpc-messages.ts';
import { EgressHandler, EgressInternal, RoomInternal } from '../bus/rpc-methods.ts';
import { route, type ApiRoute } from './api-method.ts';
import { redactEgress } from '../protocol/redact-egress.ts';

const SERVICE = 'livekit.Egress';
/** A node answers once the job's handler process is ready, which may take as long as Chromium needs to start. */
const START_TIMEOUT_MS = 30_000;
const START_ATTEMPTS = 3;

type StartCase = Exclude<RpcStartEgressRequest['request'], { case: undefined }>;

/** `livekit.Egress`: mints ids, checks the room, hands the job to an egress node, answers from the records. */
export function egressApi(bus: Bus, store: EgressStore): ApiRoute[] {
  function method<Req extends Message<Req>, Res extends Message<Res>>(
    name: string,
    request: MessageType<Req>,
    response: MessageType<Res>,
    handle: (request: Req) => Promise<Res>,
  ): ApiRoute {
    return route({ service: SERVICE, method: name, request, response, grant: 'roomRecord', handle });
  }

  function start<Req extends Message<Req>>(
    name: string,
    request: MessageType<Req>,
    toCase: (request: Req) => { roomName: string; request: StartCase },
  ): ApiRoute {
    return method(name, request, livekit.EgressInfo, async (message) => {
      const job = toCase(message);
      const roomId = needsRoom(job.request) ? await roomIdOf(bus, job.roomName) : '';
      const info = await dispatch(bus, {
        egressId: newId('EG_'),
        roomId,
        roomName: job.roomName,
        request: job.request,
      });
      await store.put(info);
      return redactEgress(info);
    });
  }

  async function load(egressId: string): Promise<livekit.EgressInfo> {
    const info = await store.get(egressId);
    if (info === undefined) {
      throw new ServiceError('not_found', 'egress does not exist');
    }
    return info;
  }

  /** An answer of the running handler; when there is none, the record tells why. */
  async function askHandler(
    egressId: string,
    action: 'stopped' | 'updated',
    ask: () => Promise<livekit.EgressInfo>,
  ): Promise<livekit.EgressInfo> {
    try {
      const info = await ask();
      await store.put(info);
      return redactEgress(info);
    } catch (error) {
      const info = await load(egressId);
      if (
        info.status !== livekit.EgressStatus.EGRESS_STARTING &&
        info.status !== livekit.EgressStatus.EGRESS_ACTIVE
      ) {
        const status = livekit.EgressStatus[info.status];
        throw new ServiceError('failed_precondition', `egress with status ${status} cannot be ${action}`, {
          cause: error,
        });
      }
      throw error;
    }
  }

  return [
    start('StartEgress', livekit.StartEgressRequest, (value) => ({
      roomName: value.roomName,
      request: { case: 'egress', value },
    })),
    start('StartRoomCompositeEgress', livekit.RoomCompositeEgressRequest, (value) => ({
      roomName: value.roomName,
      request: { case: 'roomComposite', value },
    })),
    start('StartWebEgress', livekit.WebEgressRequest, (value) => ({
      roomName: '',
      request: { case: 'web', value },
    })),
    start('StartParticipantEgress', livekit.ParticipantEgressRequest, (value) => ({
      roomName: value.roomName,
      request: { case: 'participant', value },
    })),
    start('StartTrackCompositeEgress', livekit.TrackCompositeEgressRequest, (value) => ({
      roomName: value.roomName,
      request: { case: 'trackComposite', value },
    })),
    start('StartTrackEgress', livekit.TrackEgressRequest, (value) => ({
      roomName: value.roomName,
      request: { case: 'track', value },
    })),
    method('ListEgress', livekit.ListEgressRequest, livekit.ListEgressResponse, async (request) => {
      const items = await store.list({
        ...(request.egressId === '' ? {} : { egressId: request.egressId }),
        ...(request.roomName === '' ? {} : { roomName: request.roomName }),
        active: request.active,
      });
      return new livekit.ListEgressResponse({ items: items.map(redactEgress) });
    }),
    method('StopEgress', livekit.StopEgressRequest, livekit.EgressInfo, (request) =>
      askHandler(request.egressId, 'stopped', () =>
        bus.request(EgressHandler.stopEgress, request, { topic: request.egressId }),
      ),
    ),
    method('UpdateStream', livekit.UpdateStreamRequest, livekit.EgressInfo, (request) =>
      askHandler(request.egressId, 'updated', () =>
        bus.request(EgressHandler.updateStream, request, { topic: request.egressId }),
      ),
    ),
    method('UpdateLayout', livekit.UpdateLayoutRequest, livekit.EgressInfo, async (request) => {
      const info = await load(request.egressId);
      if (isEnded(info.status)) {
        const status = livekit.EgressStatus[info.status];
        throw new ServiceError('failed_precondition', `egress with status ${status} cannot be updated`);
      }
      await bus.request(RoomInternal.updateParticipant, {
        room: info.roomName,
        identity: info.egressId,
        metadata: JSON.stringify({ layout: request.layout }),
      });
      return redactEgress(info);
    }),
  ];
}

/**
 * A node may have promised its last cores to another request in the moment between its bid and this one; it then refuses
 * without a trace, and another round finds a node that has room.
 * @throws ServiceError of the node, or unavailable when none takes it.
 */
async function dispatch(
  bus: Bus,
  request: PartialMessage<RpcStartEgressRequest>,
): Promise<livekit.EgressInfo> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await bus.request(EgressInternal.startEgress, request, { timeoutMs: START_TIMEOUT_MS });
    } catch (error) {
      const isRefusal = error instanceof ServiceError && error.code === 'unavailable';
      if (!isRefusal || attempt >= START_ATTEMPTS) {
        throw error;
      }
    }
  }
}

function needsRoom(request: StartCase): boolean {
  return request.case !== 'web' && !(request.case === 'egress' && request.value.source.case === 'web');
}

/** @throws ServiceError not_found with LiveKit's text. */
async function roomIdOf(bus: Bus, roomName: string): Promise<string> {
  const { rooms } = await bus.request(RoomInternal.listRooms, { names: [roomName] });
  const room = rooms.find((candidate) => candidate.name === roomName);
  if (roomName === '' || room === undefined) {
    throw new ServiceError('not_found', 'requested room does not exist');
  }
  return room.sid;
}
