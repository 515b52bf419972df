import { setTimeout as delay } from 'node:timers/promises';
import {
  AudioFrame,
  AudioSource,
  AudioStream,
  LocalAudioTrack,
  LocalVideoTrack,
  Room,
  RoomEvent,
  TrackKind,
  TrackPublishOptions,
  TrackSource,
  VideoBufferType,
  VideoFrame,
  VideoSource,
  VideoStream,
  dispose,
  type RemoteTrack,
} from '@livekit/rtc-node';

export type ReceivedVideo = {
  frames: number;
  width: number;
  height: number;
  /** Mean luma of the last frames, newest last; at most 300. */
  luma: number[];
};
export type ReceivedAudio = { samples: number; peak: number };

/** A participant on @livekit/rtc-node (libwebrtc and LiveKit's Rust SDK): decodes what it receives. */
export class RtcNodePeer {
  readonly room = new Room();
  readonly videos = new Map<string, ReceivedVideo>();
  readonly audios = new Map<string, ReceivedAudio>();
  readonly data: { text: string; from: string; topic: string }[] = [];
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #sources: { close(): Promise<void> }[] = [];
  #closed = false;

  static async connect(url: string, token: string, autoSubscribe = true): Promise<RtcNodePeer> {
    const peer = new RtcNodePeer();
    peer.room.on(RoomEvent.TrackSubscribed, (track) => {
      void (track.kind === TrackKind.KIND_VIDEO ? peer.#watch(track) : peer.#listen(track));
    });
    peer.room.on(RoomEvent.DataReceived, (payload, participant, _kind, topic) => {
      peer.data.push({
        text: Buffer.from(payload).toString(),
        from: participant?.identity ?? '',
        topic: topic ?? '',
      });
    });
    await peer.room.connect(url, token, { autoSubscribe, dynacast: false });
    return peer;
  }

  /** Publishes a picture whose brightness rises and falls, at 15 frames per second. */
  async publishVideo(width: number, height: number): Promise<string> {
    const source = new VideoSource(width, height);
    this.#sources.push(source);
    const options = new TrackPublishOptions();
    options.source = TrackSource.SOURCE_CAMERA;
    options.simulcast = false;
    let frameCount = 0;
    this.#timers.push(
      setInterval(() => {
        const luma = 60 + Math.round(60 * (1 + Math.sin(frameCount / 10)));
        frameCount += 1;
        const data = new Uint8Array((width * height * 3) / 2).fill(128);
        data.fill(luma, 0, width * height);
        source.captureFrame(new VideoFrame(data, width, height, VideoBufferType.I420));
      }, 66),
    );
    const track = LocalVideoTrack.createVideoTrack('camera', source);
    const publication = await this.#me().publishTrack(track, options);
    return publication.sid ?? '';
  }

  /** Publishes a 440 Hz tone. */
  async publishTone(): Promise<string> {
    const source = new AudioSource(48_000, 1);
    this.#sources.push(source);
    const options = new TrackPublishOptions();
    options.source = TrackSource.SOURCE_MICROPHONE;
    const track = LocalAudioTrack.createAudioTrack('tone', source);
    const publication = await this.#me().publishTrack(track, options);
    let position = 0;
    const feed = async (): Promise<void> => {
      while (!this.#closed) {
        const samples = new Int16Array(480);
        for (let index = 0; index < samples.length; index += 1) {
          samples[index] = Math.round(12_000 * Math.sin((2 * Math.PI * 440 * position) / 48_000));
          position += 1;
        }
        // Refused when libwebrtc had no time to take the one before: the next one may be taken.
        await source.captureFrame(new AudioFrame(samples, 48_000, 1, samples.length)).catch(() => delay(10));
      }
    };
    void feed();
    return publication.sid ?? '';
  }

  async sendData(text: string, options: { reliable: boolean; topic?: string; to?: string[] }): Promise<void> {
    await this.#me().publishData(Buffer.from(text), {
      reliable: options.reliable,
      ...(options.topic === undefined ? {} : { topic: options.topic }),
      ...(options.to === undefined ? {} : { destination_identities: options.to }),
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timers.forEach(clearInterval);
    await this.room.disconnect();
    await Promise.all(this.#sources.map((source) => source.close()));
  }

  /** Once per test file, after all peers: ends libwebrtc's threads. */
  static dispose(): Promise<void> {
    return dispose();
  }

  #me(): NonNullable<Room['localParticipant']> {
    if (this.room.localParticipant === undefined) {
      throw new Error('not connected');
    }
    return this.room.localParticipant;
  }

  async #watch(track: RemoteTrack): Promise<void> {
    const received: ReceivedVideo = { frames: 0, width: 0, height: 0, luma: [] };
    this.videos.set(track.sid ?? '', received);
    for await (const { frame } of new VideoStream(track)) {
      const i420 = frame.convert(VideoBufferType.I420);
      const pixels = i420.width * i420.height;
      let sum = 0;
      for (let index = 0; index < pixels; index += 97) {
        sum += i420.data[index] ?? 0;
      }
      received.frames += 1;
      received.width = i420.width;
      received.height = i420.height;
      received.luma.push(sum / Math.ceil(pixels / 97));
      received.luma.splice(0, Math.max(0, received.luma.length - 300));
    }
  }

  async #listen(track: RemoteTrack): Promise<void> {
    const received: ReceivedAudio = { samples: 0, peak: 0 };
    this.audios.set(track.sid ?? '', received);
    for await (const frame of new AudioStream(track)) {
      received.samples += frame.samplesPerChannel;
      for (const sample of frame.data) {
        received.peak = Math.max(received.peak, Math.abs(sample));
      }
    }
  }
}
