import * as livekit from '@livekit/protocol';
import { ServiceError } from '../base/errors.ts';

/**
 * What LiveKit refuses about an ingress, in its words, so that clients which match on the text keep working.
 */
type VideoOptions = livekit.IngressVideoOptions;
type AudioOptions = livekit.IngressAudioOptions;

const VIDEO_SOURCES: readonly livekit.TrackSource[] = [
  livekit.TrackSource.UNKNOWN,
  livekit.TrackSource.CAMERA,
  livekit.TrackSource.SCREEN_SHARE,
];
const AUDIO_SOURCES: readonly livekit.TrackSource[] = [
  livekit.TrackSource.UNKNOWN,
  livekit.TrackSource.MICROPHONE,
  livekit.TrackSource.SCREEN_SHARE_AUDIO,
];
const VIDEO_CODECS: readonly livekit.VideoCodec[] = [
  livekit.VideoCodec.DEFAULT_VC,
  livekit.VideoCodec.H264_BASELINE,
  livekit.VideoCodec.VP8,
];
/** From the lowest up. OFF is no layer: nothing is compared with it, or made of it. */
const LAYER_QUALITIES = [
  livekit.VideoQuality.LOW,
  livekit.VideoQuality.MEDIUM,
  livekit.VideoQuality.HIGH,
] as const;
const AUDIO_CODECS: readonly livekit.AudioCodec[] = [livekit.AudioCodec.DEFAULT_AC, livekit.AudioCodec.OPUS];

/** @throws ServiceError invalid_argument, or unimplemented for what this version does not do. */
export function checkIngress(info: livekit.IngressInfo): void {
  const { inputType } = info;
  if (!(inputType in livekit.IngressInput)) {
    throw invalid('ingress: unsupported input type');
  }
  if (inputType === livekit.IngressInput.URL_INPUT) {
    checkUrlInput(info);
  }
  if (info.participantIdentity === '') {
    throw invalid('ingress: no participant identity');
  }
  if (inputType === livekit.IngressInput.WHIP_INPUT) {
    checkForwarding(info);
  } else if (info.enableTranscoding === false) {
    checkPassthrough(info);
  }
  checkVideo(info.video);
  checkAudio(info.audio);
}

/** LiveKit cannot pass RTMP through; here it is allowed, and a session whose video cannot pass says why. */
function checkPassthrough(info: livekit.IngressInfo): void {
  if (info.inputType === livekit.IngressInput.URL_INPUT) {
    throw invalid(
      'transcoding bypass configuration: bypassing transcoding impossible with selected input type',
    );
  }
  checkNoEncodingOptions(info);
}

/** What is forwarded as it comes is not encoded here, so nothing can be asked of the encoding. */
function checkForwarding(info: livekit.IngressInfo): void {
  if (info.enableTranscoding === true) {
    return;
  }
  checkNoEncodingOptions(info);
}

function checkNoEncodingOptions({ video, audio }: livekit.IngressInfo): void {
  for (const [kind, options] of [
    ['video', video],
    ['audio', audio],
  ] as const) {
    if (options?.encodingOptions.case !== undefined) {
      throw invalid(
        `transcoding bypass configuration: ${kind} encoding options must be empty if transcoding is disabled`,
      );
    }
  }
}

/** LiveKit's (http, https, srt) and ours; docs/ingress-url.md. */
const URL_SCHEMES: readonly string[] = [
  ...['http:', 'https:', 'srt:'],
  ...['rtsp:', 'rtsps:', 'rtmp:', 'rtmps:', 's3:', 'file:'],
];

function checkUrlInput(info: livekit.IngressInfo): void {
  if (info.url === '') {
    throw invalid('ingress: no source URL');
  }
  const scheme = URL.canParse(info.url) ? new URL(info.url).protocol : '';
  if (!URL_SCHEMES.includes(scheme)) {
    throw invalid(`ingress: invalid url scheme ${scheme.slice(0, -1)}`);
  }
  if (info.roomName === '') {
    throw invalid('ingress: no room name');
  }
  if (info.enabled === false) {
    throw invalid('ingress: disabled non reusable ingress');
  }
}

function checkVideo(video: VideoOptions | undefined): void {
  if (video === undefined) {
    return;
  }
  if (!VIDEO_SOURCES.includes(video.source)) {
    throw invalid('video parameters: invalid track source');
  }
  const chosen = video.encodingOptions;
  if (chosen.case === 'preset' && !(chosen.value in livekit.IngressVideoEncodingPreset)) {
    throw invalid('video parameters: invalid preset');
  }
  if (chosen.case !== 'options') {
    return;
  }
  const { frameRate, videoCodec, layers } = chosen.value;
  if (frameRate < 0 || !Number.isFinite(frameRate)) {
    throw invalid('video parameters: invalid framerate');
  }
  if (!VIDEO_CODECS.includes(videoCodec)) {
    throw invalid('video parameters: video codec unsupported');
  }
  checkLayers(layers);
}

function checkLayers(layers: readonly livekit.VideoLayer[]): void {
  const byQuality = new Map<livekit.VideoQuality, livekit.VideoLayer>();
  for (const layer of layers) {
    if (layer.width === 0 || layer.height === 0) {
      throw invalid('video parameters: invalid output media dimensions');
    }
    if (layer.width % 2 !== 0) {
      throw invalid('ingress: layer width must be even');
    }
    if (layer.height % 2 !== 0) {
      throw invalid('ingress: layer height must be even');
    }
    if (byQuality.has(layer.quality)) {
      throw invalid('video parameters: more than one layer with the same quality level');
    }
    byQuality.set(layer.quality, layer);
  }
  let below = { width: 0, height: 0 };
  for (const quality of LAYER_QUALITIES) {
    const layer = byQuality.get(quality) ?? below;
    for (const side of ['height', 'width'] as const) {
      if (layer[side] < below[side]) {
        throw invalid(
          `video parameters: video layers do not have increasing ${side} with increasing quality`,
        );
      }
    }
    below = layer;
  }
}

function checkAudio(audio: AudioOptions | undefined): void {
  if (audio === undefined) {
    return;
  }
  if (!AUDIO_SOURCES.includes(audio.source)) {
    throw invalid('audio parameters: invalid track source');
  }
  const chosen = audio.encodingOptions;
  if (chosen.case === 'preset' && !(chosen.value in livekit.IngressAudioEncodingPreset)) {
    throw invalid('audio parameters: invalid preset');
  }
  if (chosen.case !== 'options') {
    return;
  }
  if (!AUDIO_CODECS.includes(chosen.value.audioCodec)) {
    throw invalid('audio parameters: audio codec unsupported');
  }
  if (chosen.value.channels > 2) {
    throw invalid('audio parameters: invalid audio channel count');
  }
}

function invalid(message: string): ServiceError {
  return new ServiceError('invalid_argument', `invalid ${message}`);
}
