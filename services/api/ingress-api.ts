import type { Message, MessageType } from '@bufbuild/protobuf';
import * as livekit from '@livekit/protocol';
import { ServiceError } from '../base/errors.ts';
import { newId, randomString } from '../base/ids.ts';
import type { Logger } from '../base/logger.ts';
import type { Bus } from '../bus/bus.ts';
import type { IngressStore } from '../bus/ingress-store.ts';
import { IngressHandler, IngressInternal } from '../bus/rpc-methods.ts';
import { route, type ApiRoute } from './api-method.ts';
import { checkIngress } from './ingress-validation.ts';

const SERVICE = 'livekit.Ingress';
const STREAM_KEY_CHARS = 16;

const { ENDPOINT_BUFFERING, ENDPOINT_ERROR, ENDPOINT_INACTIVE, ENDPOINT_PUBLISHING } =
  livekit.IngressState_Status;

/** The addresses encoders are told, without the stream key; '' = nothing listens for them. */
export type IngressBaseUrls = { rtmp: string; whip: string };

export type IngressApiOptions = {
  bus: Bus;
  store: IngressStore;
  logger: Logger;
  /** Known once the listeners run. */
  ingressBaseUrls: () => IngressBaseUrls;
};

/** A new RTMP or WHIP endpoint that can be published to again and again. @throws ServiceError invalid_argument, failed_precondition. */
export async function createIngress(
  { store, ingressBaseUrls }: Pick<IngressApiOptions, 'store' | 'ingressBaseUrls'>,
  request: livekit.CreateIngressRequest,
): Promise<livekit.IngressInfo> {
  const whip = request.inputType === livekit.IngressInput.WHIP_INPUT;
  const url = whip ? ingressBaseUrls().whip : ingressBaseUrls().rtmp;
  // LiveKit's defaults: WHIP is forwarded as it comes.
  const enableTranscoding = request.enableTranscoding ?? !whip;
  const info = new livekit.IngressInfo({
    ingressId: newId('IN_'),
    name: request.name,
    streamKey: randomString(STREAM_KEY_CHARS),
    url,
    inputType: request.inputType,
    roomName: request.roomName,
    participantIdentity: request.participantIdentity,
    participantName: request.participantName,
    participantMetadata: request.participantMetadata,
    enableTranscoding,
    // Deprecated and only ever written, as LiveKit does.
    bypassTranscoding: !enableTranscoding,
    reusable: true,
    enabled: request.enabled ?? true,
    state: { status: ENDPOINT_INACTIVE },
    ...(request.audio === undefined ? {} : { audio: request.audio }),
    ...(request.video === undefined ? {} : { video: request.video }),
  });
  checkIngress(info);
  if (url === '') {
    const [name, key] = whip ? ['WHIP', 'whip_port'] : ['RTMP', 'rtmp_port'];
    throw new ServiceError('failed_precondition', `${name} is off on this server (ingress.${key} is -1)`);
  }
  await store.put(info);
  return info;
}

/**
 * A URL that an ingress node plays once, from now on. @throws ServiceError of the validation, of the node (the address
 * may not be read), or unavailable when no node takes it.
 */
async function createUrlIngress(
  { bus, store }: Pick<IngressApiOptions, 'bus' | 'store'>,
  request: livekit.CreateIngressRequest,
): Promise<livekit.IngressInfo> {
  const enableTranscoding = request.enableTranscoding ?? true;
  const info = new livekit.IngressInfo({
    ingressId: newId('IN_'),
    name: request.name,
    url: request.url,
    inputType: request.inputType,
    roomName: request.roomName,
    participantIdentity: request.participantIdentity,
    participantName: request.participantName,
    participantMetadata: request.participantMetadata,
    enableTranscoding,
    // Deprecated and only ever written, as LiveKit does.
    bypassTranscoding: !enableTranscoding,
    reusable: false,
    enabled: request.enabled ?? true,
    state: {},
    ...(request.audio === undefined ? {} : { audio: request.audio }),
    ...(request.video === undefined ? {} : { video: request.video }),
  });
  checkIngress(info);
  await store.put(info);
  try {
    await bus.request(IngressInternal.startIngress, { info });
  } catch (error) {
    await store.delete(info.ingressId);
    throw error;
  }
  return (await store.get(info.ingressId)) ?? info;
}

/** `livekit.Ingress`. */
export function ingressApi(options: IngressApiOptions): ApiRoute[] {
  const { bus, store, logger } = options;

  function method<Req extends Message<Req>, Res extends Message<Res>>(
    name: string,
    request: MessageType<Req>,
    response: MessageType<Res>,
    handle: (request: Req) => Promise<Res>,
  ): ApiRoute {
    return route({ service: SERVICE, method: name, request, response, grant: 'ingressAdmin', handle });
  }

  async function load(ingressId: string): Promise<livekit.IngressInfo> {
    const info = await store.get(ingressId);
    if (info === undefined) {
      throw new ServiceError('not_found', 'ingress does not exist');
    }
    return info;
  }

  /** A session whose node is gone must not keep its endpoint from being changed or deleted. */
  async function tellSession(tell: () => Promise<unknown>): Promise<void> {
    await tell().catch((error: unknown) => {
      logger.warn({ err: error }, 'ingress session not told about its endpoint');
    });
  }

  async function update(request: livekit.UpdateIngressRequest): Promise<livekit.IngressInfo> {
    const stored = await load(request.ingressId);
    if (!stored.reusable) {
      throw new ServiceError('invalid_argument', 'ingress is not reusable and cannot be modified');
    }
    const info = applyUpdate(stored, request);
    checkIngress(info);
    if (isLive(stored)) {
      await tellSession(() => bus.request(IngressHandler.updateIngress, request, { topic: info.ingressId }));
      const now = await load(info.ingressId);
      info.state = now.state ?? new livekit.IngressState();
    } else if (stored.state?.status === ENDPOINT_ERROR) {
      info.state = new livekit.IngressState({ status: ENDPOINT_INACTIVE });
    }
    await store.put(info);
    return info;
  }

  async function remove(request: livekit.DeleteIngressRequest): Promise<livekit.IngressInfo> {
    const info = await load(request.ingressId);
    if (isLive(info)) {
      await tellSession(() => bus.request(IngressHandler.deleteIngress, request, { topic: info.ingressId }));
    }
    await store.delete(info.ingressId);
    const state = info.state ?? new livekit.IngressState();
    state.status = ENDPOINT_INACTIVE;
    info.state = state;
    return info;
  }

  return [
    method('CreateIngress', livekit.CreateIngressRequest, livekit.IngressInfo, (request) =>
      request.inputType === livekit.IngressInput.URL_INPUT
        ? createUrlIngress(options, request)
        : createIngress(options, request),
    ),
    method('UpdateIngress', livekit.UpdateIngressRequest, livekit.IngressInfo, update),
    method('DeleteIngress', livekit.DeleteIngressRequest, livekit.IngressInfo, remove),
    method('ListIngress', livekit.ListIngressRequest, livekit.ListIngressResponse, async (request) => {
      const items =
        request.ingressId === ''
          ? await store.list(request.roomName === '' ? undefined : request.roomName)
          : [await load(request.ingressId)];
      return new livekit.ListIngressResponse({ items });
    }),
  ];
}

function isLive(info: livekit.IngressInfo): boolean {
  return info.state?.status === ENDPOINT_BUFFERING || info.state?.status === ENDPOINT_PUBLISHING;
}

/** Empty text means "leave as it is" (LiveKit cannot clear a field either); options are replaced whole. */
function applyUpdate(
  stored: livekit.IngressInfo,
  request: livekit.UpdateIngressRequest,
): livekit.IngressInfo {
  const info = stored.clone();
  info.name = request.name || info.name;
  info.roomName = request.roomName || info.roomName;
  info.participantIdentity = request.participantIdentity || info.participantIdentity;
  info.participantName = request.participantName || info.participantName;
  info.participantMetadata = request.participantMetadata || info.participantMetadata;
  if (request.enableTranscoding !== undefined) {
    info.enableTranscoding = request.enableTranscoding;
    // eslint-disable-next-line @typescript-eslint/no-deprecated -- only ever written, as LiveKit does
    info.bypassTranscoding = !request.enableTranscoding;
  }
  if (request.enabled !== undefined) {
    info.enabled = request.enabled;
  }
  if (request.audio !== undefined) {
    info.audio = request.audio;
  }
  if (request.video !== undefined) {
    info.video = request.video;
  }
  return info;
}
