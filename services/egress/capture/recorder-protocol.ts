/** Text messages (JSON) on the same socket as the packets, and the options handed to the recorder page. */
export type RecorderOptions = {
  /** ws://127.0.0.1:port/<secret of this job> */
  socketUrl: string;
  width: number;
  height: number;
  framerate: number;
  /** WebCodecs codec string, see h264-level.ts. */
  codec: string;
  bitrateBps: number;
  keyFrameIntervalUs: number;
  /** A picture that stands still is repeated after this time. */
  fillIntervalUs: number;
};

export type RecorderCommand =
  /** Asks for the worker's clock; answered by `clock` with the same id. `sentUs` is ours: CLOCK_MONOTONIC. */
  | { type: 'clock'; id: number; sentUs: number }
  /** Packets flow from the next frame on, which becomes a key frame. */
  | { type: 'record' }
  | { type: 'keyframe' }
  /** Repeats the last picture at the present time, flushes the encoder, answers `stopped`. */
  | { type: 'stop' };

export type RecorderStats = {
  framesCaptured: number;
  framesEncoded: number;
  framesFilled: number;
  framesDropped: number;
  pcmDropped: number;
};

export type RecorderEvent =
  | { type: 'clock'; id: number; workerUs: number }
  /** Once, with the first sound. */
  | { type: 'audio'; sampleRateHz: number }
  | { type: 'stats'; stats: RecorderStats }
  | { type: 'stopped'; stats: RecorderStats }
  | { type: 'error'; message: string };

/** Reads a text message of the recorder; undefined when it is malformed. */
export function readRecorderEvent(text: string): RecorderEvent | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null || !('type' in value)) {
    return undefined;
  }
  const event = value as Record<string, unknown>;
  switch (event['type']) {
    case 'clock':
      return typeof event['id'] === 'number' && typeof event['workerUs'] === 'number'
        ? { type: 'clock', id: event['id'], workerUs: event['workerUs'] }
        : undefined;
    case 'audio':
      return typeof event['sampleRateHz'] === 'number' &&
        event['sampleRateHz'] >= 8_000 &&
        event['sampleRateHz'] <= 192_000
        ? { type: 'audio', sampleRateHz: event['sampleRateHz'] }
        : undefined;
    case 'stats':
    case 'stopped': {
      const stats = readStats(event['stats']);
      return stats === undefined ? undefined : { type: event['type'], stats };
    }
    case 'error':
      return typeof event['message'] === 'string'
        ? { type: 'error', message: event['message'].slice(0, 500) }
        : undefined;
    default:
      return undefined;
  }
}

function readStats(value: unknown): RecorderStats | undefined {
  if (typeof value !== 'object' || value === null) {
    return undefined;
  }
  const fields = value as Record<string, unknown>;
  const number = (name: string): number => {
    const field = fields[name];
    return typeof field === 'number' ? field : 0;
  };
  return {
    framesCaptured: number('framesCaptured'),
    framesEncoded: number('framesEncoded'),
    framesFilled: number('framesFilled'),
    framesDropped: number('framesDropped'),
    pcmDropped: number('pcmDropped'),
  };
}
