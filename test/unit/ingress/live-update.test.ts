import {
  IngressAudioOptions,
  IngressInfo,
  IngressVideoEncodingPreset,
  IngressVideoOptions,
  TrackSource,
  UpdateIngressRequest,
} from '@livekit/protocol';
import type { PartialMessage } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import { liveUpdate } from '../../../services/ingress/live-update.ts';

const ENDPOINT = new IngressInfo({
  ingressId: 'IN_1',
  name: 'desk',
  roomName: 'studio',
  participantIdentity: 'obs',
  participantName: 'OBS',
  participantMetadata: 'text',
  enableTranscoding: true,
  enabled: true,
  video: { name: 'picture', source: TrackSource.CAMERA },
});
const update = (request: PartialMessage<UpdateIngressRequest>): unknown =>
  liveUpdate(ENDPOINT, new UpdateIngressRequest({ ingressId: 'IN_1', ...request }));
const SAME = { name: '', metadata: '' };

test.each<[string, PartialMessage<UpdateIngressRequest>, object]>([
  ['nothing', {}, SAME],
  ['the name of the endpoint', { name: 'other' }, SAME],
  [
    'what is set already',
    { roomName: 'studio', participantIdentity: 'obs', enableTranscoding: true, enabled: true },
    SAME,
  ],
  ['the name of a track', { video: { name: 'other', source: TrackSource.CAMERA } }, SAME],
  ['sound without options', { audio: new IngressAudioOptions() }, SAME],
  ['the name of the participant', { participantName: 'Studio' }, { name: 'Studio', metadata: '' }],
  ['its metadata', { participantMetadata: 'new' }, { name: '', metadata: 'new' }],
])('a session goes on when an update brings %s', (_, request, expected) => {
  expect(update(request)).toEqual(expected);
});

test.each<[string, PartialMessage<UpdateIngressRequest>]>([
  ['another room', { roomName: 'other' }],
  ['another identity', { participantIdentity: 'other' }],
  ['another way to treat the video', { enableTranscoding: false }],
  ['its end', { enabled: false }],
  [
    'another source',
    { video: new IngressVideoOptions({ name: 'picture', source: TrackSource.SCREEN_SHARE }) },
  ],
  [
    'an encoding',
    {
      video: {
        source: TrackSource.CAMERA,
        encodingOptions: { case: 'preset', value: IngressVideoEncodingPreset.H264_720P_30FPS_1_LAYER },
      },
    },
  ],
  ['another source of sound', { audio: { source: TrackSource.MICROPHONE } }],
  ['another slate', { participantMetadata: '{"sluice.ingress.slate":"pause"}' }],
])('a session begins anew when an update brings %s', (_, request) => {
  expect(update(request)).toBeUndefined();
});
