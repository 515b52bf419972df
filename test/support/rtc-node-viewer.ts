import {
  AudioStream,
  dispose,
  Room,
  RoomEvent,
  TrackKind,
  VideoBufferType,
  VideoStream,
  type RemoteTrack,
  type RemoteParticipant,
} from '@livekit/rtc-node';
import { BEEP_HZ, FLASH } from '../../fixtures/flash-beep.ts';
import { readBarcode } from './flash-beep.ts';

const GRAY = { width: 320, height: 180 };
const AUDIO_RATE_HZ = 48_000;

export type SeenFrame = { atMs: number; width: number; height: number; barcode: number; flash: boolean };
export type HeardFrame = { atMs: number; rms: number; beep: boolean };

/** LiveKit's own Rust client as a viewer: decodes everything and reads the flash/beep picture. */
export class RtcNodeViewer {
  readonly frames: SeenFrame[] = [];
  readonly sound: HeardFrame[] = [];
  /** Attributes as last seen, kept after the participant has left. */
  readonly #attributes = new Map<string, Record<string, string>>();
  readonly #room = new Room();
  readonly #changed = new Set<() => void>();

  async join(wsUrl: string, token: string): Promise<void> {
    this.#room.on(RoomEvent.TrackSubscribed, (track: RemoteTrack) => {
      void (track.kind === TrackKind.KIND_VIDEO ? this.#watch(track) : this.#listen(track));
    });
    this.#room.on(RoomEvent.ParticipantAttributesChanged, (_changed, participant) => {
      this.#attributes.set(participant.identity, { ...participant.attributes });
    });
    await this.#room.connect(wsUrl, token, { autoSubscribe: true, dynacast: false });
  }

  participant(identity: string): RemoteParticipant | undefined {
    return this.#room.remoteParticipants.get(identity);
  }

  attributesOf(identity: string): Record<string, string> {
    return this.#attributes.get(identity) ?? {};
  }

  /** Resolves as soon as `condition` holds; it is looked at after every decoded frame. */
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const check = (): void => {
        if (condition()) {
          this.#changed.delete(check);
          resolve();
        }
      };
      this.#changed.add(check);
      check();
    });
  }

  async close(): Promise<void> {
    await this.#room.disconnect();
  }

  async #watch(track: RemoteTrack): Promise<void> {
    for await (const { frame } of new VideoStream(track)) {
      const atMs = performance.now();
      const i420 = frame.type === VideoBufferType.I420 ? frame : frame.convert(VideoBufferType.I420);
      const gray = shrink(i420.data, frame.width, frame.height);
      // libwebrtc's own picture of a track that was switched off: below the black of any video.
      if (gray.every((luma) => luma === 0)) {
        continue;
      }
      this.frames.push({
        atMs,
        width: frame.width,
        height: frame.height,
        barcode: readBarcode(gray),
        flash: (gray[flashCenter()] ?? 0) > 128,
      });
      this.#notify();
    }
  }

  async #listen(track: RemoteTrack): Promise<void> {
    for await (const frame of new AudioStream(track, { sampleRate: AUDIO_RATE_HZ, numChannels: 1 })) {
      const rms = Math.sqrt(frame.data.reduce((sum, s) => sum + s * s, 0) / frame.data.length) / 32_768;
      this.sound.push({
        atMs: performance.now(),
        rms,
        beep: rms > 0.1 && tonePower(frame.data) > 0.5 * rms * rms,
      });
      this.#notify();
    }
  }

  #notify(): void {
    for (const check of [...this.#changed]) {
      check();
    }
  }
}

/** Stops the Rust runtime; call once, after the last viewer of a test file. */
export async function disposeRtcNode(): Promise<void> {
  await dispose();
}

function flashCenter(): number {
  const y = Math.floor(((FLASH.top + FLASH.bottom) / 2) * GRAY.height);
  return y * GRAY.width + Math.floor(((FLASH.left + FLASH.right) / 2) * GRAY.width);
}

/** Luma plane by nearest neighbour, at the size the bar code reader expects. */
function shrink(luma: Uint8Array, width: number, height: number): Buffer {
  const out = Buffer.alloc(GRAY.width * GRAY.height);
  for (let y = 0; y < GRAY.height; y++) {
    const row = Math.floor((y * height) / GRAY.height) * width;
    for (let x = 0; x < GRAY.width; x++) {
      out[y * GRAY.width + x] = luma[row + Math.floor((x * width) / GRAY.width)] ?? 0;
    }
  }
  return out;
}

/** Power of the beep's frequency (Goertzel), comparable with the mean square of the same samples. */
function tonePower(samples: Int16Array): number {
  const angle = (2 * Math.PI * BEEP_HZ) / AUDIO_RATE_HZ;
  let re = 0;
  let im = 0;
  samples.forEach((sample, i) => {
    re += (sample / 32_768) * Math.cos(angle * i);
    im += (sample / 32_768) * Math.sin(angle * i);
  });
  return (2 * (re * re + im * im)) / samples.length ** 2;
}
