import type { RecorderOptions } from '../../services/egress/capture/recorder-protocol.ts';
import { connectRecorder } from './recorder.ts';

type Start = {
  options: RecorderOptions;
  video: ReadableStream<VideoFrame>;
  audio: ReadableStream<AudioData> | undefined;
};

async function start({ options, video, audio }: Start): Promise<void> {
  const recorder = await connectRecorder(options);
  void recorder.readVideo(video);
  if (audio !== undefined) {
    void recorder.readAudio(audio);
  }
}

globalThis.onmessage = (event: MessageEvent<Start>) => {
  start(event.data).then(
    () => globalThis.postMessage({ ready: true }),
    (error: unknown) =>
      globalThis.postMessage({ error: error instanceof Error ? error.message : String(error) }),
  );
};
