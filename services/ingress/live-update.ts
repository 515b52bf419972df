import {
  IngressAudioOptions,
  IngressVideoOptions,
  type IngressInfo,
  type UpdateIngressRequest,
} from '@livekit/protocol';
import { SLATE_KEY } from './slate/slate-choice.ts';

/** What a participant is called; '' leaves it as it is. */
export type NewNames = { name: string; metadata: string };

/**
 * What an update of the endpoint means for a session that runs: names are changed while the encoder goes on, undefined
 * stands for a change that needs another session. Track names count from the next session on.
 */
export function liveUpdate(info: IngressInfo, request: UpdateIngressRequest): NewNames | undefined {
  const { participantMetadata: metadata, participantName: name } = request;
  const isOther =
    (request.roomName !== '' && request.roomName !== info.roomName) ||
    (request.participantIdentity !== '' && request.participantIdentity !== info.participantIdentity) ||
    (request.enableTranscoding !== undefined && request.enableTranscoding !== info.enableTranscoding) ||
    request.enabled === false ||
    isOtherVideo(info.video, request.video) ||
    isOtherAudio(info.audio, request.audio) ||
    // The slate is chosen there.
    (metadata !== '' &&
      metadata !== info.participantMetadata &&
      mentionsSlate(info.participantMetadata, metadata));
  return isOther ? undefined : { name, metadata };
}

function isOtherVideo(now = new IngressVideoOptions(), next: IngressVideoOptions | undefined): boolean {
  const renamed = next?.clone();
  if (renamed !== undefined) {
    renamed.name = now.name;
  }
  return renamed !== undefined && !renamed.equals(now);
}

function isOtherAudio(now = new IngressAudioOptions(), next: IngressAudioOptions | undefined): boolean {
  const renamed = next?.clone();
  if (renamed !== undefined) {
    renamed.name = now.name;
  }
  return renamed !== undefined && !renamed.equals(now);
}

function mentionsSlate(...texts: readonly string[]): boolean {
  return texts.some((text) => text.includes(SLATE_KEY));
}
