import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { messageOf, ServiceError } from '../../base/errors.ts';
import { exitError, spawnFfmpeg, type FfmpegExit, type FfmpegProcess } from '../../media/ffmpeg/run.ts';
import { srtSendArgs, srtSecretPreset } from '../../media/ffmpeg/srt-args.ts';
import type { SrtAddress } from '../../model/stream-url.ts';
import { encodeAmf0 } from '../../protocol/amf0.ts';
import { FLV_TAG, flvFileHeader, flvTag } from '../../protocol/flv.ts';
import { LinkClock } from './link-clock.ts';
import { STREAM_TIMEOUTS, type FlvMessage, type OpenLinkOptions, type StreamLink } from './stream-link.ts';

export type SrtLinkOptions = OpenLinkOptions & {
  address: SrtAddress;
  ffmpegPath: string;
  /** Holds the stream id and passphrase for the moment ffmpeg reads them: command lines are public. */
  workDir: string;
  kinds: readonly FlvMessage['kind'][];
};

/**
 * MPEG-TS over SRT through one ffmpeg child, packets untouched. It connects when the first media arrives, so a
 * destination that is not there shows as `closed`.
 */
export async function openSrtLink(options: SrtLinkOptions): Promise<StreamLink> {
  const { address, ffmpegPath, workDir, logger, signal, kinds } = options;
  const folder = await mkdtemp(path.join(workDir, 'srt-'));
  const presetFile = path.join(folder, 'options');
  await writeFile(presetFile, srtSecretPreset(address), { mode: 0o600 });
  const process = spawnFfmpeg({ ffmpegPath, args: srtSendArgs(address, presetFile), logger, signal });
  const link = new SrtLink(options, process);
  link.send(flvFileHeader({ audio: kinds.includes('audio'), video: kinds.includes('video') }));
  void link.closed.then(() => rm(folder, { recursive: true, force: true }));
  return link;
}

class SrtLink implements StreamLink {
  readonly closed: Promise<Error>;
  sentBytes = 0;
  hasUnsent = false;
  readonly #options: SrtLinkOptions;
  readonly #process: FfmpegProcess;
  readonly #configs: { video?: FlvMessage['config']; audio?: FlvMessage['config'] } = {};
  #error: Error | undefined;
  readonly #clock = new LinkClock();
  #progress = '';

  constructor(options: SrtLinkOptions, process: FfmpegProcess) {
    this.#options = options;
    this.#process = process;
    this.closed = process.exited.then((exit) => this.#error ?? reasonOf(exit, options));
    process.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#readProgress(text);
    });
  }

  write(batch: readonly FlvMessage[], onTaken: () => void): void {
    this.send(Buffer.concat(batch.flatMap((message) => this.#tagsOf(message))), onTaken);
  }

  send(bytes: Buffer, onTaken: () => void = () => undefined): void {
    const { stdin } = this.#process;
    if (stdin.destroyed) {
      return; // its exit tells
    }
    this.hasUnsent = true;
    stdin.write(bytes, () => onTaken());
  }

  async finish(): Promise<void> {
    this.#process.stdin.end();
    const timer = setTimeout(() => void this.#process.kill(0), STREAM_TIMEOUTS.drainMs);
    await this.#process.exited;
    clearTimeout(timer);
  }

  destroy(error: Error): void {
    this.#error ??= error;
    void this.#process.kill(0);
  }

  #tagsOf(message: FlvMessage): Buffer[] {
    const timestampMs = this.#clock.timestampMs(message);
    if (timestampMs === undefined) {
      return [];
    }
    const media = flvTag(FLV_TAG[message.kind], timestampMs, message.body);
    if (this.#configs[message.kind] === message.config) {
      return [media];
    }
    this.#configs[message.kind] = message.config;
    const metadata = encodeAmf0(['onMetaData', this.#options.metadata()]);
    return [
      flvTag(FLV_TAG.script, timestampMs, [metadata]),
      flvTag(FLV_TAG[message.kind], timestampMs, message.config),
      media,
    ];
  }

  /** ffmpeg's `-progress`: lines of key=value. */
  #readProgress(text: string): void {
    const lines = (this.#progress + text).split('\n');
    this.#progress = (lines.pop() ?? '').slice(-200);
    for (const line of lines) {
      const sentBytes = Number(/^total_size=(\d+)$/.exec(line)?.[1] ?? 0);
      if (sentBytes > this.sentBytes) {
        this.sentBytes = sentBytes;
        this.hasUnsent = false;
      }
    }
  }
}

function reasonOf(exit: FfmpegExit, { address, ffmpegPath }: SrtLinkOptions): ServiceError {
  const host = `${address.host}:${address.port}`;
  const { stderrTail } = exit;
  if (/Protocol not found|Unrecognized option 'srt|Error parsing.*srt_/i.test(stderrTail)) {
    return new ServiceError(
      'unavailable',
      `SRT outputs need an ffmpeg that knows the protocol srt, which ${ffmpegPath} does not: install one or set FFMPEG_PATH`,
      { scope: 'node', retryable: false },
    );
  }
  const reason = /Failed to resolve hostname/.test(stderrTail)
    ? 'the host name does not exist'
    : /Connection to .* failed: (.*)$/m.exec(stderrTail)?.[1];
  const text =
    reason === undefined
      ? `SRT to ${host} ended: ${messageOf(exitError(exit, 'stream') ?? 'connection lost')}`
      : `${host} cannot be reached over SRT: ${reason}`;
  return new ServiceError('unavailable', text, { blame: 'destination' });
}
