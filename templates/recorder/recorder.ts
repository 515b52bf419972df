import { HEADER_BYTES, writeHeader } from '../../services/egress/capture/packet-framing.ts';
import { PcmBatch, type PcmMessage } from './pcm-batch.ts';
import type {
  RecorderCommand,
  RecorderEvent,
  RecorderOptions,
  RecorderStats,
} from '../../services/egress/capture/recorder-protocol.ts';

/** Frames waiting inside the encoder before new ones are dropped: memory stays flat on a slow machine. */
const MAX_ENCODER_QUEUE = 3;
const MAX_SOCKET_BACKLOG_BYTES = 4_000_000;
const STATS_INTERVAL_MS = 5_000;
const MAX_FRAMES_UNDER_WAY = 32;
/** Frames come on a 16.7 ms raster: a key frame may be this early rather than a whole frame late. */
const KEY_SLACK_US = 5_000;

const nowUs = (): number => performance.now() * 1000;

/**
 * Encodes pictures, batches sound and sends both to the egress; obeys its commands. Lives in a worker, so that nothing
 * a page does can hold it up.
 */
export class Recorder {
  readonly #options: RecorderOptions;
  readonly #socket: WebSocket;
  readonly #encoder: VideoEncoder;
  readonly #arrivalsUs = new Map<number, number>();
  readonly #stats: RecorderStats = {
    framesCaptured: 0,
    framesEncoded: 0,
    framesFilled: 0,
    framesDropped: 0,
    pcmDropped: 0,
  };
  readonly #pcm = new PcmBatch((pcm) => this.#sendPcm(pcm));
  #recording = false;
  #monotonicOffsetUs = Infinity;
  #wantKey = true;
  #lastKeyUs = -Infinity;
  #repeat: () => VideoFrame | undefined = () => undefined;
  #quietSinceUs = 0;
  #lastTimestampUs = -Infinity;
  #sequence = 0;

  constructor(options: RecorderOptions, socket: WebSocket) {
    this.#options = options;
    this.#socket = socket;
    this.#encoder = new VideoEncoder({
      output: (chunk) => this.#sendVideo(chunk),
      error: (error) => this.#fail(`video encoder: ${error.message}`),
    });
    this.#encoder.configure({
      codec: options.codec,
      width: options.width,
      height: options.height,
      bitrate: options.bitrateBps,
      framerate: options.framerate,
      latencyMode: 'realtime',
      bitrateMode: 'variable',
      hardwareAcceleration: 'prefer-software',
      avc: { format: 'annexb' },
    });
    socket.onmessage = (event: MessageEvent<string>) => {
      this.#obey(JSON.parse(event.data) as RecorderCommand);
    };
    setInterval(() => this.#fill(), options.fillIntervalUs / 2000);
    setInterval(() => this.#tell({ type: 'stats', stats: this.#stats }), STATS_INTERVAL_MS);
  }

  /** The worker's clock minus CLOCK_MONOTONIC, which stamps frames; undefined until the egress has told it. */
  get monotonicOffsetMs(): number | undefined {
    return this.#monotonicOffsetUs === Infinity ? undefined : this.#monotonicOffsetUs / 1000;
  }

  /** Records a stream of pictures and keeps the last one, to repeat it while nothing moves. */
  async readVideo(stream: ReadableStream<VideoFrame>): Promise<void> {
    const reader = stream.getReader();
    let last: VideoFrame | undefined;
    let lastArrivalUs = 0;
    this.repeatWith(() => {
      if (last === undefined) {
        return undefined;
      }
      const arrivalUs = nowUs();
      const repeated = new VideoFrame(last, {
        timestamp: last.timestamp + Math.round(arrivalUs - lastArrivalUs),
      });
      last.close();
      last = repeated;
      lastArrivalUs = arrivalUs;
      return repeated.clone();
    });
    for (;;) {
      const { value: frame, done } = await reader.read();
      if (done) {
        this.#fail('the captured tab is gone');
        return;
      }
      last?.close();
      last = frame;
      lastArrivalUs = nowUs();
      this.addFrame(frame.clone());
    }
  }

  /** Says how to get the present picture once more, stamped with the present time. */
  repeatWith(repeat: () => VideoFrame | undefined): void {
    this.#repeat = repeat;
  }

  /** Takes the next picture, and closes it. */
  addFrame(frame: VideoFrame): void {
    this.#stats.framesCaptured += 1;
    this.#takeFrame(frame);
  }

  async readAudio(stream: ReadableStream<AudioData>): Promise<void> {
    const reader = stream.getReader();
    let isFirst = true;
    for (;;) {
      const { value: samples, done } = await reader.read();
      if (done) {
        return;
      }
      if (isFirst) {
        isFirst = false;
        this.#tell({ type: 'audio', sampleRateHz: samples.sampleRate });
      }
      if (this.#recording) {
        this.#pcm.add(samples);
      }
      samples.close();
    }
  }

  #obey(command: RecorderCommand): void {
    switch (command.type) {
      case 'clock': {
        const workerUs = nowUs();
        this.#tell({ type: 'clock', id: command.id, workerUs });
        // The quickest message tells most exactly.
        this.#monotonicOffsetUs = Math.min(this.#monotonicOffsetUs, workerUs - command.sentUs);
        return;
      }
      case 'record':
        this.#recording = true;
        this.#wantKey = true;
        // The last frame may still show what was before the start signal: the next one comes first.
        this.#quietSinceUs = nowUs();
        return;
      case 'keyframe':
        this.#wantKey = true;
        return;
      case 'stop':
        void this.#stop();
        return;
    }
  }

  #takeFrame(frame: VideoFrame): void {
    const arrivalUs = nowUs();
    this.#quietSinceUs = arrivalUs;
    this.#encode(frame, arrivalUs);
    frame.close();
  }

  #encode(frame: VideoFrame, arrivalUs: number): void {
    if (!this.#recording) {
      return;
    }
    if (
      this.#encoder.state !== 'configured' ||
      this.#encoder.encodeQueueSize > MAX_ENCODER_QUEUE ||
      this.#socket.bufferedAmount > MAX_SOCKET_BACKLOG_BYTES
    ) {
      this.#stats.framesDropped += 1;
      return;
    }
    if (frame.timestamp <= this.#lastTimestampUs) {
      // A repeated picture took this frame's place by a hair; the newer picture must not be lost for it.
      const restamped = new VideoFrame(frame, { timestamp: this.#lastTimestampUs + 1_000 });
      this.#encodeAt(restamped, arrivalUs);
      restamped.close();
    } else {
      this.#encodeAt(frame, arrivalUs);
    }
  }

  #encodeAt(frame: VideoFrame, arrivalUs: number): void {
    const timestampUs = frame.timestamp;
    const keyFrame =
      this.#wantKey || timestampUs >= this.#lastKeyUs + this.#options.keyFrameIntervalUs - KEY_SLACK_US;
    if (keyFrame) {
      this.#wantKey = false;
      this.#lastKeyUs = timestampUs;
    }
    this.#lastTimestampUs = timestampUs;
    this.#arrivalsUs.set(timestampUs, arrivalUs);
    if (this.#arrivalsUs.size > MAX_FRAMES_UNDER_WAY) {
      // The encoder's rate control skips frames without a word.
      this.#arrivalsUs.delete(this.#arrivalsUs.keys().next().value ?? 0);
    }
    this.#encoder.encode(frame, { keyFrame });
  }

  /** Chrome yields no frame while nothing on the page moves; the last one is repeated then. */
  #fill(): void {
    if (nowUs() - this.#quietSinceUs >= this.#options.fillIntervalUs) {
      this.#repeatLast();
    }
  }

  #repeatLast(): void {
    const frame = this.#recording ? this.#repeat() : undefined;
    if (frame !== undefined) {
      this.#stats.framesFilled += 1;
      this.#takeFrame(frame);
    }
  }

  #sendVideo(chunk: EncodedVideoChunk): void {
    const message = new Uint8Array(HEADER_BYTES + chunk.byteLength);
    chunk.copyTo(message.subarray(HEADER_BYTES));
    writeHeader(message, {
      kind: 'video',
      key: chunk.type === 'key',
      captureUs: chunk.timestamp,
      arrivalUs: this.#arrivalsUs.get(chunk.timestamp) ?? nowUs(),
      sequence: this.#sequence++,
    });
    this.#arrivalsUs.delete(chunk.timestamp);
    this.#stats.framesEncoded += 1;
    this.#socket.send(message);
  }

  #sendPcm({ sampleRateHz, captureUs, message }: PcmMessage): void {
    if (this.#socket.bufferedAmount > MAX_SOCKET_BACKLOG_BYTES) {
      this.#stats.pcmDropped += 1;
      return;
    }
    writeHeader(message, {
      kind: 'pcm',
      sampleRateHz,
      captureUs,
      arrivalUs: nowUs(),
      sequence: this.#sequence++,
    });
    this.#socket.send(message);
  }

  async #stop(): Promise<void> {
    this.#repeatLast();
    this.#recording = false;
    this.#pcm.flush();
    if (this.#encoder.state === 'configured') {
      await this.#encoder.flush();
    }
    this.#tell({ type: 'stopped', stats: this.#stats });
  }

  #tell(event: RecorderEvent): void {
    if (this.#socket.readyState === WebSocket.OPEN) {
      this.#socket.send(JSON.stringify(event));
    }
  }

  #fail(message: string): void {
    this.#tell({ type: 'error', message });
  }
}

/**
 * Connects a recorder to the egress that waits for it.
 * @throws Error when this browser cannot encode what is asked, or nobody answers.
 */
export async function connectRecorder(options: RecorderOptions): Promise<Recorder> {
  const support = await VideoEncoder.isConfigSupported({
    codec: options.codec,
    width: options.width,
    height: options.height,
    avc: { format: 'annexb' },
  });
  if (support.supported !== true) {
    throw new Error(`this browser cannot encode ${options.codec} at ${options.width}x${options.height}`);
  }
  const socket = new WebSocket(options.socketUrl);
  await new Promise<void>((resolve, reject) => {
    socket.onopen = () => resolve();
    socket.onerror = () => reject(new Error('the capture socket refused the recorder'));
  });
  return new Recorder(options, socket);
}
