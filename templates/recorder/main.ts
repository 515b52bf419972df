import type { RecorderOptions } from '../../services/egress/capture/recorder-protocol.ts';

/** Chrome's insertable streams, not yet in TypeScript's DOM library. */
declare class MediaStreamTrackProcessor<Data> {
  constructor(init: { track: MediaStreamTrack; maxBufferSize?: number });
  readonly readable: ReadableStream<Data>;
}

const VIDEO_BUFFER_FRAMES = 8;
/** 10 ms each: a second of sound survives a busy moment. */
const AUDIO_BUFFER_CHUNKS = 100;
const WORKER_START_TIMEOUT_MS = 10_000;

/**
 * Captures the room tab and hands its raw tracks to the worker, which encodes and sends them. The tab is chosen
 * by the browser's --auto-select-tab-capture-source-by-title, so no picker opens.
 */
async function startCapture(options: RecorderOptions): Promise<{ hasAudio: boolean }> {
  const stream = await navigator.mediaDevices.getDisplayMedia({
    video: {
      displaySurface: 'browser',
      width: options.width,
      height: options.height,
      frameRate: options.framerate,
      cursor: 'never',
    } as MediaTrackConstraints,
    audio: {
      echoCancellation: false,
      noiseSuppression: false,
      autoGainControl: false,
      suppressLocalAudioPlayback: true,
      channelCount: 2,
      sampleRate: 48_000,
    } as MediaTrackConstraints,
  });
  const [videoTrack] = stream.getVideoTracks();
  const [audioTrack] = stream.getAudioTracks();
  if (videoTrack === undefined) {
    throw new Error('the captured tab has no video track');
  }
  const video = new MediaStreamTrackProcessor<VideoFrame>({
    track: videoTrack,
    maxBufferSize: VIDEO_BUFFER_FRAMES,
  }).readable;
  const audio =
    audioTrack === undefined
      ? undefined
      : new MediaStreamTrackProcessor<AudioData>({ track: audioTrack, maxBufferSize: AUDIO_BUFFER_CHUNKS })
          .readable;
  const worker = new Worker('worker.js', { type: 'module' });
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error('recorder worker did not start')),
      WORKER_START_TIMEOUT_MS,
    );
    worker.onmessage = (event: MessageEvent<{ ready: true } | { error: string }>) => {
      clearTimeout(timer);
      if ('ready' in event.data) {
        resolve();
      } else {
        reject(new Error(event.data.error));
      }
    };
    worker.onerror = (event) => reject(new Error(event.message));
    worker.postMessage({ options, video, audio }, [video, ...(audio === undefined ? [] : [audio])]);
  });
  return { hasAudio: audio !== undefined };
}

declare global {
  var startCapture: (options: RecorderOptions) => Promise<{ hasAudio: boolean }>;
}
globalThis.startCapture = startCapture;
