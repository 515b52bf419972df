/** Chrome's insertable streams, not yet in TypeScript's DOM library. */
declare class MediaStreamTrackProcessor<Data> {
  constructor(init: { track: MediaStreamTrack; maxBufferSize?: number });
  readonly readable: ReadableStream<Data>;
}

/** 10 ms each: a second of sound survives a busy moment. */
const AUDIO_BUFFER_CHUNKS = 100;

/** The decoded pictures of a track; the oldest one goes when more than `maxFrames` wait. */
export function framesOf(track: MediaStreamTrack, maxFrames: number): ReadableStream<VideoFrame> {
  return new MediaStreamTrackProcessor<VideoFrame>({ track, maxBufferSize: maxFrames }).readable;
}

/** The sound of a track. */
export function samplesOf(track: MediaStreamTrack): ReadableStream<AudioData> {
  return new MediaStreamTrackProcessor<AudioData>({ track, maxBufferSize: AUDIO_BUFFER_CHUNKS }).readable;
}

/**
 * Captures a tab of this browser. It is chosen by the browser's --auto-select-tab-capture-source-by-title, so no
 * picker opens.
 */
export function captureTab(video: MediaTrackConstraints): Promise<MediaStream> {
  return navigator.mediaDevices.getDisplayMedia({
    video: { displaySurface: 'browser', cursor: 'never', ...video } as MediaTrackConstraints,
    audio: {
      echoCancellation: false,
      noiseSuppression: false,
      autoGainControl: false,
      suppressLocalAudioPlayback: true,
      channelCount: 2,
      sampleRate: 48_000,
    } as MediaTrackConstraints,
    // The page that captures may be the one that is captured.
    selfBrowserSurface: 'include',
  } as DisplayMediaStreamOptions);
}
