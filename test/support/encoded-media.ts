import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ALL_FORMATS, EncodedPacketSink, FilePathSource, Input, type InputTrack } from 'mediabunny';
import type { AudioFormat, EncodedPacket, VideoFormat } from '../../services/model/packet.ts';

const FFMPEG = process.env['FFMPEG_PATH'] ?? 'ffmpeg';

export type EncodedMedia = {
  video: { format: VideoFormat; packets: EncodedPacket[] } | undefined;
  audio: { format: AudioFormat; packets: EncodedPacket[] } | undefined;
};
export type EncodedMediaOptions = {
  video?: 'h264' | 'vp8';
  audio?: 'opus' | 'aac';
  seconds: number;
  fps?: number;
  /** Seconds between key frames; default: only the first. */
  keyIntervalS?: number;
  /** Default 320x240. */
  size?: { width: number; height: number };
  /** Default 440. */
  toneHz?: number;
};

/** Moving test picture and sine tone, encoded by ffmpeg and taken apart into packets as the media path carries them. */
export async function encodeMedia(options: EncodedMediaOptions): Promise<EncodedMedia> {
  const folder = mkdtempSync(path.join(tmpdir(), 'sluice-media-'));
  try {
    const video = options.video === undefined ? undefined : await encodeVideo(folder, options, options.video);
    const audio = options.audio === undefined ? undefined : await encodeAudio(folder, options, options.audio);
    return { video, audio };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function encodeVideo(folder: string, options: EncodedMediaOptions, codec: 'h264' | 'vp8') {
  const fps = options.fps ?? 30;
  const { width, height } = options.size ?? { width: 320, height: 240 };
  const file = path.join(folder, codec === 'h264' ? 'v.mp4' : 'v.webm');
  const gop = String(Math.round((options.keyIntervalS ?? 1000) * fps));
  const encoder =
    codec === 'h264'
      ? ['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-profile:v', 'baseline']
      : ['-c:v', 'libvpx', '-deadline', 'realtime', '-cpu-used', '8', '-b:v', '500k'];
  run(
    [
      '-f',
      'lavfi',
      '-i',
      `testsrc2=size=${String(width)}x${String(height)}:rate=${String(fps)}`,
      '-t',
      String(options.seconds),
    ],
    encoder,
    [...['-pix_fmt', 'yuv420p', '-g', gop, file]],
  );
  return readTrack(file, async (input) => {
    const track = await input.getPrimaryVideoTrack();
    const description = new Uint8Array(
      ((await track?.getDecoderConfig())?.description as Uint8Array | undefined) ?? [],
    );
    const format: VideoFormat = { kind: 'video', codec, width, height };
    const packets = await readPackets(track, 'video', 1e6 / fps);
    return {
      format,
      packets:
        codec === 'vp8'
          ? packets
          : packets.map((packet) => ({ ...packet, data: annexB(packet, description) })),
    };
  });
}

async function encodeAudio(folder: string, options: EncodedMediaOptions, codec: 'opus' | 'aac') {
  const file = path.join(folder, codec === 'aac' ? 'a.mp4' : 'a.webm');
  const encoder = codec === 'aac' ? ['-c:a', 'aac'] : ['-c:a', 'libopus'];
  const tone = `sine=${String(options.toneHz ?? 440)}:r=48000`;
  run(['-f', 'lavfi', '-i', tone, '-t', String(options.seconds)], encoder, ['-ac', '2', file]);
  return readTrack(file, async (input) => {
    const track = await input.getPrimaryAudioTrack();
    const config = await track?.getDecoderConfig();
    const format: AudioFormat = {
      kind: 'audio',
      codec,
      sampleRateHz: 48_000,
      channels: 2,
      ...(codec === 'aac' ? { description: new Uint8Array(config?.description as Uint8Array) } : {}),
    };
    return { format, packets: await readPackets(track, 'audio', codec === 'aac' ? 1024e6 / 48_000 : 20_000) };
  });
}

function run(input: string[], encoder: string[], output: string[]): void {
  execFileSync(FFMPEG, ['-v', 'error', '-y', ...input, ...encoder, ...output]);
}

async function readTrack<T>(file: string, read: (input: Input) => Promise<T>): Promise<T> {
  const input = new Input({ source: new FilePathSource(file), formats: ALL_FORMATS });
  try {
    return await read(input);
  } finally {
    input.dispose();
  }
}

/** Packets at an exact pace from 0; containers round and shift. */
async function readPackets(
  track: InputTrack | null,
  kind: 'video' | 'audio',
  stepUs: number,
): Promise<EncodedPacket[]> {
  if (track === null) {
    throw new Error(`ffmpeg wrote no ${kind} track`);
  }
  const packets: EncodedPacket[] = [];
  for await (const packet of new EncodedPacketSink(track).packets()) {
    const ptsUs = Math.round(packets.length * stepUs);
    const durationUs = Math.round(stepUs);
    packets.push({ kind, ptsUs, dtsUs: ptsUs, durationUs, key: packet.type === 'key', data: packet.data });
  }
  return packets;
}

/** avcC + length-prefixed → Annex B with parameter sets in front of key frames. */
function annexB(packet: EncodedPacket, avcC: Uint8Array): Uint8Array {
  const startCode = Uint8Array.of(0, 0, 0, 1);
  const parts: Uint8Array[] = [];
  const units: Uint8Array[] = [];
  if (packet.key) {
    const spsLength = ((avcC[6] ?? 0) << 8) | (avcC[7] ?? 0);
    const ppsAt = 8 + spsLength + 3;
    units.push(avcC.subarray(8, 8 + spsLength), avcC.subarray(ppsAt));
  }
  const view = Buffer.from(packet.data);
  for (let offset = 0; offset < view.length;) {
    const length = view.readUInt32BE(offset);
    units.push(view.subarray(offset + 4, offset + 4 + length));
    offset += 4 + length;
  }
  for (const unit of units) {
    parts.push(startCode, unit);
  }
  return new Uint8Array(Buffer.concat(parts));
}
