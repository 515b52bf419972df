import { ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { MIX_RATE_HZ, MixBuffer } from '../../media/audio/mix-buffer.ts';
import { MixLane, type MixChannel } from '../../media/audio/mix-lane.ts';
import { OpusTrackDecoder } from '../../media/audio/opus-track-decoder.ts';
import { createAudioTranscoder } from '../../media/ffmpeg/audio-transcoder.ts';
import type { AudioTranscoder } from '../../media/ffmpeg/audio-transcoder-types.ts';
import type { AudioFormat, EncodedPacket } from '../../model/packet.ts';
import type { Encoding } from '../../model/presets.ts';

export type SoundLineOptions = {
  ffmpegPath: string;
  encoding: Pick<Encoding, 'audioCodec' | 'audioBitrateKbps' | 'audioSampleRateHz'>;
  logger: Logger;
  onFormat: (format: AudioFormat) => void;
  onPacket: (packet: EncodedPacket) => void;
  onFailure: (error: ServiceError) => void;
};

/** How long the mix waits for packets: a lost packet is given up after 1 s and the length of a burst, then what came behind it has to be decoded. */
const DELAY_US = 2_000_000;
const FRAME_SAMPLES = MIX_RATE_HZ / 50;
/** Bounds what waits for a decoder to start. */
const MAX_QUEUED_PACKETS = 500;
/** One write to ffmpeg; a pipe holds 64 kB. */
const MAX_CHUNK_SAMPLES = 15 * FRAME_SAMPLES;

/** One track of the mix; `ptsUs` counts from the start of the recording. */
export type MixInput = { write(packet: { ptsUs: number; data: Uint8Array }): void; remove(): void };

type SoundTrack = {
  lane: MixLane;
  decoder: OpusTrackDecoder | undefined;
  queue: { ptsUs: number; data: Uint8Array }[];
};

/**
 * All recorded voices as one encoded stereo track on the clock of the recording, silent where nobody speaks. It lags
 * behind the room by a fixed delay, within which packets may come in any order of tracks.
 */
export class SoundLine {
  readonly #options: SoundLineOptions;
  readonly #buffer = new MixBuffer();
  readonly #transcoder: AudioTranscoder;
  readonly #tracks = new Set<SoundTrack>();
  #end = 0;
  #closing: Promise<void> | undefined;

  constructor(options: SoundLineOptions) {
    this.#options = options;
    const { encoding, ffmpegPath, logger, onFormat, onPacket, onFailure } = options;
    const bitrateKbps = encoding.audioBitrateKbps;
    this.#transcoder = createAudioTranscoder({
      ...{ ffmpegPath, logger },
      mixed: true,
      input: { codec: 'pcm_s16le', sampleRateHz: MIX_RATE_HZ, channels: 2 },
      output:
        encoding.audioCodec === 'opus'
          ? { codec: 'opus', sampleRateHz: 48_000, channels: 2, bitrateKbps }
          : { codec: 'aac', sampleRateHz: encoding.audioSampleRateHz, channels: 2, bitrateKbps },
    });
    this.#transcoder.events.on('format', onFormat);
    this.#transcoder.events.on('packet', onPacket);
    this.#transcoder.events.on('closed', ({ error }) => {
      if (error !== undefined) {
        onFailure(ServiceError.from(error));
      }
    });
  }

  /** A track joins the mix; packets may be written at once. */
  add(channel: MixChannel): MixInput {
    const track: SoundTrack = { lane: new MixLane(this.#buffer, channel), decoder: undefined, queue: [] };
    let removed = false;
    this.#tracks.add(track);
    OpusTrackDecoder.create().then(
      (decoder) => {
        if (removed) {
          decoder.free();
        } else {
          track.decoder = decoder;
        }
      },
      (error: unknown) => {
        this.#options.onFailure(ServiceError.from(error));
      },
    );
    return {
      write: ({ ptsUs, data }) => {
        if (!removed && track.queue.length < MAX_QUEUED_PACKETS) {
          track.queue.push({ ptsUs, data });
        }
      },
      remove: () => {
        if (!removed) {
          this.#decode(track);
          removed = true;
          track.lane.finish();
          this.#end = Math.max(this.#end, track.lane.end);
          track.decoder?.free();
          this.#tracks.delete(track);
        }
      },
    };
  }

  /** Mixes and encodes what is due. Call a few times per second. */
  advance(nowUs: number): void {
    if (this.#closing === undefined) {
      this.#decodeAll();
      const limit = samplesAt(nowUs - DELAY_US);
      for (const { lane } of this.#tracks) {
        lane.release(limit);
      }
      this.#mixTo(limit);
    }
  }

  /** Encodes the rest and resolves after the last packet. @param nowUs where the recording ends. Idempotent. */
  close(nowUs: number): Promise<void> {
    this.#closing ??= (async () => {
      this.#decodeAll();
      for (const { lane, decoder } of this.#tracks) {
        lane.finish();
        this.#end = Math.max(this.#end, lane.end);
        decoder?.free();
      }
      this.#tracks.clear();
      // Packets are still under way: their share at the end would only be silence.
      const heard = this.#end > samplesAt(nowUs - DELAY_US) ? this.#end : samplesAt(nowUs);
      this.#mixTo(Math.min(heard, samplesAt(nowUs)));
      await this.#transcoder.close();
      const { droppedSamples } = this.#buffer;
      this.#options.logger.info({ droppedSamples }, 'sound mix closed');
    })();
    return this.#closing;
  }

  #decodeAll(): void {
    for (const track of this.#tracks) {
      this.#decode(track);
    }
  }

  #decode({ decoder, queue, lane }: SoundTrack): void {
    if (decoder === undefined) {
      return;
    }
    for (const { ptsUs, data } of queue.splice(0)) {
      const pcm = decoder.decode(data);
      if (pcm !== undefined) {
        lane.place(ptsUs, pcm.left, pcm.right);
      }
    }
    this.#end = Math.max(this.#end, lane.end);
  }

  #mixTo(limit: number): void {
    for (;;) {
      const { position } = this.#buffer;
      const due = Math.floor((limit - position) / FRAME_SAMPLES) * FRAME_SAMPLES;
      if (due <= 0) {
        return;
      }
      const data = this.#buffer.read(Math.min(due, MAX_CHUNK_SAMPLES));
      this.#transcoder.write({ ptsUs: Math.round((position * 1e6) / MIX_RATE_HZ), data });
    }
  }
}

function samplesAt(timeUs: number): number {
  return Math.floor((timeUs * MIX_RATE_HZ) / 1e6);
}
