import type { PartialMessage } from '@bufbuild/protobuf';
import * as livekit from '@livekit/protocol';
import { TwirpClient, type ServerAccess } from './twirp-client.ts';

/** The calls the command line makes, each with exactly the grant it needs. Errors: see TwirpClient.call. */
export class LiveKitApi {
  readonly #client: TwirpClient;

  constructor(access: ServerAccess) {
    this.#client = new TwirpClient(access);
  }

  async listRooms(): Promise<livekit.Room[]> {
    const request: [typeof livekit.ListRoomsRequest, object] = [livekit.ListRoomsRequest, {}];
    const response = livekit.ListRoomsResponse;
    const { rooms } = await this.#client.call('RoomService/ListRooms', { roomList: true }, request, response);
    return rooms;
  }

  async listParticipants(room: string): Promise<livekit.ParticipantInfo[]> {
    const { participants } = await this.#client.call(
      'RoomService/ListParticipants',
      { roomAdmin: true, room },
      [livekit.ListParticipantsRequest, { room }],
      livekit.ListParticipantsResponse,
    );
    return participants;
  }

  createIngress(fields: PartialMessage<livekit.CreateIngressRequest>): Promise<livekit.IngressInfo> {
    return this.#client.call(
      'Ingress/CreateIngress',
      { ingressAdmin: true },
      [livekit.CreateIngressRequest, { inputType: livekit.IngressInput.RTMP_INPUT, ...fields }],
      livekit.IngressInfo,
    );
  }

  async listIngress(): Promise<livekit.IngressInfo[]> {
    const { items } = await this.#client.call(
      'Ingress/ListIngress',
      { ingressAdmin: true },
      [livekit.ListIngressRequest, {}],
      livekit.ListIngressResponse,
    );
    return items;
  }

  deleteIngress(ingressId: string): Promise<livekit.IngressInfo> {
    return this.#client.call(
      'Ingress/DeleteIngress',
      { ingressAdmin: true },
      [livekit.DeleteIngressRequest, { ingressId }],
      livekit.IngressInfo,
    );
  }

  startRoomComposite(
    fields: PartialMessage<livekit.RoomCompositeEgressRequest>,
  ): Promise<livekit.EgressInfo> {
    return this.#client.call(
      'Egress/StartRoomCompositeEgress',
      { roomRecord: true },
      [livekit.RoomCompositeEgressRequest, fields],
      livekit.EgressInfo,
    );
  }

  startTrack(fields: PartialMessage<livekit.TrackEgressRequest>): Promise<livekit.EgressInfo> {
    return this.#client.call(
      'Egress/StartTrackEgress',
      { roomRecord: true },
      [livekit.TrackEgressRequest, fields],
      livekit.EgressInfo,
    );
  }

  startParticipant(fields: PartialMessage<livekit.ParticipantEgressRequest>): Promise<livekit.EgressInfo> {
    return this.#client.call(
      'Egress/StartParticipantEgress',
      { roomRecord: true },
      [livekit.ParticipantEgressRequest, fields],
      livekit.EgressInfo,
    );
  }

  startTrackComposite(
    fields: PartialMessage<livekit.TrackCompositeEgressRequest>,
  ): Promise<livekit.EgressInfo> {
    return this.#client.call(
      'Egress/StartTrackCompositeEgress',
      { roomRecord: true },
      [livekit.TrackCompositeEgressRequest, fields],
      livekit.EgressInfo,
    );
  }

  updateStream(fields: PartialMessage<livekit.UpdateStreamRequest>): Promise<livekit.EgressInfo> {
    return this.#client.call(
      'Egress/UpdateStream',
      { roomRecord: true },
      [livekit.UpdateStreamRequest, fields],
      livekit.EgressInfo,
    );
  }

  updateLayout(fields: PartialMessage<livekit.UpdateLayoutRequest>): Promise<livekit.EgressInfo> {
    return this.#client.call(
      'Egress/UpdateLayout',
      { roomRecord: true },
      [livekit.UpdateLayoutRequest, fields],
      livekit.EgressInfo,
    );
  }

  async listEgress(filter: { egressId?: string; roomName?: string }): Promise<livekit.EgressInfo[]> {
    const { items } = await this.#client.call(
      'Egress/ListEgress',
      { roomRecord: true },
      [livekit.ListEgressRequest, filter],
      livekit.ListEgressResponse,
    );
    return items;
  }

  stopEgress(egressId: string): Promise<livekit.EgressInfo> {
    return this.#client.call(
      'Egress/StopEgress',
      { roomRecord: true },
      [livekit.StopEgressRequest, { egressId }],
      livekit.EgressInfo,
    );
  }
}
