/**
 * The binary messages between the recorder worker inside Chrome and this process: a 24-byte header, big endian,
 * then the payload. This file runs on both sides, so it uses nothing but typed arrays.
 *
 *   0 u8  kind: 1 video, 2 PCM
 *   1 u8  flags: bit 0 key frame
 *   2 u16 PCM: sample rate in units of 100 Hz
 *   4 f64 capture time in microseconds on the clock of the medium
 *  12 f64 arrival in the worker in microseconds on the worker's clock (performance.now)
 *  20 u32 sequence number of the connection
 */
export const HEADER_BYTES = 24;
const KIND_VIDEO = 1;
const KIND_PCM = 2;
const FLAG_KEY = 1;

type Timing = { captureUs: number; arrivalUs: number; sequence: number };

export type CapturedVideo = Timing & { kind: 'video'; key: boolean; data: Uint8Array };

/** Interleaved stereo, signed 16 bit little endian. */
export type CapturedPcm = Timing & { kind: 'pcm'; sampleRateHz: number; data: Uint8Array };

export type CapturedChunk = CapturedVideo | CapturedPcm;

/** Writes the header into the first 24 bytes of `message`; the payload follows there already. */
export function writeHeader(
  message: Uint8Array,
  chunk: Omit<CapturedVideo, 'data'> | Omit<CapturedPcm, 'data'>,
): void {
  const view = new DataView(message.buffer, message.byteOffset, HEADER_BYTES);
  view.setUint8(0, chunk.kind === 'video' ? KIND_VIDEO : KIND_PCM);
  view.setUint8(1, chunk.kind === 'video' && chunk.key ? FLAG_KEY : 0);
  view.setUint16(2, chunk.kind === 'pcm' ? Math.round(chunk.sampleRateHz / 100) : 0);
  view.setFloat64(4, chunk.captureUs);
  view.setFloat64(12, chunk.arrivalUs);
  view.setUint32(20, chunk.sequence >>> 0);
}

/** Reads one message; undefined when it is not one of ours. The payload is a view, not a copy. */
export function readChunk(message: Uint8Array): CapturedChunk | undefined {
  if (message.byteLength <= HEADER_BYTES) {
    return undefined;
  }
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const captureUs = view.getFloat64(4);
  const arrivalUs = view.getFloat64(12);
  if (!Number.isFinite(captureUs) || !Number.isFinite(arrivalUs)) {
    return undefined;
  }
  const timing = { captureUs, arrivalUs, sequence: view.getUint32(20) };
  const data = message.subarray(HEADER_BYTES);
  switch (view.getUint8(0)) {
    case KIND_VIDEO:
      return { kind: 'video', key: (view.getUint8(1) & FLAG_KEY) !== 0, ...timing, data };
    case KIND_PCM: {
      const sampleRateHz = view.getUint16(2) * 100;
      return sampleRateHz === 0 || data.byteLength % 4 !== 0
        ? undefined
        : { kind: 'pcm', sampleRateHz, ...timing, data };
    }
    default:
      return undefined;
  }
}
