import type { RecorderOptions } from '../../services/egress/capture/recorder-protocol.ts';
import { captureTab, framesOf, samplesOf } from '../shared/media-streams.ts';
import { startWorker } from '../shared/start-worker.ts';

const VIDEO_BUFFER_FRAMES = 8;

/** Captures the tab to be recorded and hands its raw tracks to the worker, which encodes and sends them. */
async function startCapture(options: RecorderOptions): Promise<{ hasAudio: boolean }> {
  const { width, height, framerate: frameRate } = options;
  const stream = await captureTab({ width, height, frameRate });
  const [videoTrack] = stream.getVideoTracks();
  const [audioTrack] = stream.getAudioTracks();
  if (videoTrack === undefined) {
    throw new Error('the captured tab has no video track');
  }
  const video = framesOf(videoTrack, VIDEO_BUFFER_FRAMES);
  const audio = audioTrack === undefined ? undefined : samplesOf(audioTrack);
  const worker = new Worker('worker.js', { type: 'module' });
  await startWorker(worker, { options, video, audio }, [video, ...(audio === undefined ? [] : [audio])]);
  return { hasAudio: audio !== undefined };
}

declare global {
  var startCapture: (options: RecorderOptions) => Promise<{ hasAudio: boolean }>;
}
globalThis.startCapture = startCapture;
