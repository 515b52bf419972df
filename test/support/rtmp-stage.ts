import { TrackSource } from '@livekit/protocol';
import { FfmpegEncoder } from './ffmpeg-encoder.ts';
import { startIngressHarness, type IngressHarness, type IngressHarnessOptions } from './ingress-harness.ts';
import { RoomViewers } from './room-viewers.ts';
import type { RtcNodeViewer } from './rtc-node-viewer.ts';
import { API_KEY, API_SECRET, startSfuServer, type SfuServer, type SfuServerOptions } from './sfu-server.ts';

/** Real SFU and real ingress with one RTMP endpoint into the room "studio", its encoders, and who watches them. */
export type RtmpStage = {
  sfu: SfuServer;
  harness: IngressHarness;
  viewer(identity?: string): Promise<RtcNodeViewer>;
  /** ffmpeg publishes a file in real time, packets untouched. `loops`: -1 = for ever. */
  push(file: string, options?: { fromS?: number; loops?: number }): FfmpegEncoder;
  /** Encoders are killed and viewers leave; the services go on. */
  clear(): Promise<void>;
  close(): Promise<void>;
};

export type RtmpStageOptions = Pick<IngressHarnessOptions, 'policy' | 'slates' | 'info' | 'localMedia'> & {
  onRequest?: SfuServerOptions['onRequest'];
};

export async function startRtmpStage({
  localMedia,
  onRequest,
  ...ingress
}: RtmpStageOptions = {}): Promise<RtmpStage> {
  const shared = localMedia === undefined ? {} : { localMedia };
  const sfu = await startSfuServer({ sfu: shared, ...(onRequest === undefined ? {} : { onRequest }) });
  const harness = await startIngressHarness({
    ...{ ...shared, ...ingress },
    room: { wsUrl: sfu.wsUrl, apiKey: API_KEY, apiSecret: API_SECRET },
    info: {
      video: { name: 'picture', source: TrackSource.CAMERA },
      audio: { name: 'sound', source: TrackSource.MICROPHONE },
      ...ingress.info,
    },
  });
  const viewers = new RoomViewers(sfu);
  const encoders: FfmpegEncoder[] = [];
  const clear = async (): Promise<void> => {
    encoders.splice(0).forEach((encoder) => {
      encoder.kill('SIGKILL');
    });
    await viewers.close();
  };
  return {
    ...{ sfu, harness, clear },
    viewer: (identity) => viewers.join(identity),
    push(file, { fromS = 0, loops = 0 } = {}) {
      const encoder = new FfmpegEncoder([
        ...['-re', '-ss', String(fromS), '-stream_loop', String(loops), '-i', file],
        ...['-c', 'copy', '-f', 'flv', harness.url],
      ]);
      encoders.push(encoder);
      return encoder;
    },
    async close() {
      await clear();
      await harness.close();
      await sfu.close();
    },
  };
}
