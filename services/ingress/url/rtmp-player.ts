import { dial, type TlsTrust } from '../../base/net/dial.ts';
import { ServiceError } from '../../base/errors.ts';
import type { RtmpAddress } from '../../model/stream-url.ts';
import { amfObject, decodeAmf0, type AmfObject, type AmfValue } from '../../protocol/amf0.ts';
import { RtmpClientConnection, type RtmpCommand } from '../../protocol/rtmp-client-connection.ts';
import { parseRtmpAudio } from '../../protocol/flv-enhanced.ts';
import { RTMP_MESSAGE, type RtmpMessage } from '../../protocol/rtmp-message.ts';
import { statusProperty, statusReason } from '../../protocol/rtmp-status.ts';
import { RTMP_LIMITS } from '../servers/rtmp-limits.ts';
import type { MediaSink } from '../servers/publisher-types.ts';
import { LiveClock } from './live-clock.ts';
import { LiveSound } from './live-sound.ts';
import { monotonicUs } from '../../base/clock.ts';

export type RtmpPlayOptions = {
  address: RtmpAddress;
  /** Checked before. */
  ipAddress: string;
  sink: MediaSink;
  stallMs: number;
  signal: AbortSignal;
  trust: TlsTrust;
};

const OPEN_TIMEOUT_MS = 10_000;
const TRANSACTION = { connect: 1, createStream: 2, play: 0 } as const;
const ENDED: ReadonlySet<string> = new Set([
  'NetStream.Play.UnpublishNotify',
  'NetStream.Play.Complete',
  'NetStream.Play.Stop',
  'NetConnection.Connect.Closed',
]);

/**
 * Plays a live stream of an RTMP or RTMPS server (RTMP 1.0 section 7.2.2.1). Resolves when the server says that it has
 * ended. A redirect is a refusal like any other: it is never followed.
 * @throws ServiceError unavailable, blaming the server: unreachable, refused, silent, gone.
 */
export async function playRtmp(options: RtmpPlayOptions): Promise<void> {
  const { address, ipAddress, signal, trust } = options;
  const { host, port, secure } = address;
  const socket = await dial({
    ...{ host, address: ipAddress, port, secure, signal, ...trust },
    timeoutMs: OPEN_TIMEOUT_MS,
  });
  await new Promise<void>((resolve, reject) => {
    const player = new Player(options, (error) => {
      signal.removeEventListener('abort', onAbort);
      if (error === undefined) {
        resolve();
      } else {
        reject(error);
      }
    });
    const connection: RtmpClientConnection = new RtmpClientConnection(
      socket,
      host,
      {
        onHandshake: () => player.connect(connection),
        onCommand: (command) => player.onCommand(command),
        onMedia: (message) => player.onMedia(message),
        onStreamEof: () => player.close(undefined),
        onClosed: (error) => player.close(error),
      },
      RTMP_LIMITS.publishing,
    );
    const onAbort = (): void => connection.close(new ServiceError('canceled', 'stopped'));
    signal.addEventListener('abort', onAbort, { once: true });
    player.start(connection);
  });
}

class Player {
  readonly #options: RtmpPlayOptions;
  readonly #onEnd: (error: Error | undefined) => void;
  readonly #clock = new LiveClock();
  readonly #sound = new LiveSound();
  #connection: RtmpClientConnection | undefined;
  #timer: NodeJS.Timeout | undefined;
  #hasEnded = false;

  constructor(options: RtmpPlayOptions, onEnd: (error: Error | undefined) => void) {
    this.#options = options;
    this.#onEnd = onEnd;
  }

  start(connection: RtmpClientConnection): void {
    this.#connection = connection;
    this.#watch();
  }

  connect(connection: RtmpClientConnection): void {
    const { app, host, port, secure } = this.#options.address;
    const authority = `${host.includes(':') ? `[${host}]` : host}:${port}`;
    connection.command(
      ...([0, 'connect', TRANSACTION.connect] as const),
      amfObject({
        app,
        flashVer: 'LNX 9,0,124,2',
        tcUrl: `${secure ? 'rtmps' : 'rtmp'}://${authority}/${app}`,
        fpad: false,
        capabilities: 15,
        audioCodecs: 4071,
        videoCodecs: 252,
        videoFunction: 1,
      }),
    );
  }

  onCommand({ name, transaction, args }: RtmpCommand): void {
    if (name === '_result' && transaction === TRANSACTION.connect) {
      this.#connection?.command(0, 'createStream', TRANSACTION.createStream, null);
    } else if (name === '_result' && transaction === TRANSACTION.createStream) {
      const [, streamId] = args;
      // -2: live if there is such a stream, else recorded; servers of live streams look no further.
      const { streamKey } = this.#options.address;
      this.#connection?.command(Number(streamId), 'play', TRANSACTION.play, null, streamKey, -2000);
    } else if (name === '_error') {
      this.#fail(`refused: ${statusReason(args[1], this.#options.address.streamKey)}`);
    } else if (name === 'onStatus') {
      this.#onStatus(args[1]);
    } else if (name === 'close') {
      this.#end(undefined);
    }
  }

  onMedia({ typeId, timestampMs, payload }: RtmpMessage): void {
    const { sink } = this.#options;
    if (typeId === RTMP_MESSAGE.dataAmf0) {
      this.#onData(decodeAmf0(payload));
      return;
    }
    this.#watch();
    const arrivalUs = monotonicUs();
    const mediaUs = timestampMs * 1000;
    const { dtsUs } = this.#clock.at(typeId, { dtsUs: mediaUs, ptsUs: mediaUs }, arrivalUs);
    const timeMs = Math.round(dtsUs / 1000) >>> 0;
    if (typeId === RTMP_MESSAGE.video) {
      sink.video(timeMs, payload, arrivalUs);
    } else if (!isSound(payload) || this.#sound.takes(mediaUs, dtsUs)) {
      sink.audio(timeMs, payload, arrivalUs);
    }
  }

  /** The stream has ended, or the connection is gone. */
  close(error: ServiceError | undefined): void {
    this.#end(error);
  }

  #onData([name, values]: AmfValue[]): void {
    if (name === 'onMetaData' && values instanceof Map) {
      this.#options.sink.metadata(values as AmfObject);
    } else if (name === 'onStatus') {
      this.#onStatus(values);
    }
  }

  #onStatus(info: AmfValue): void {
    const code = statusProperty(info, 'code');
    if (typeof code === 'string' && ENDED.has(code)) {
      this.#end(undefined);
    } else if (statusProperty(info, 'level') === 'error') {
      this.#fail(`refused: ${statusReason(info, this.#options.address.streamKey)}`);
    }
  }

  #watch(): void {
    clearTimeout(this.#timer);
    const { stallMs } = this.#options;
    this.#timer = setTimeout(() => {
      this.#fail(`has sent nothing for ${stallMs / 1000} s`);
    }, stallMs);
  }

  #fail(text: string): void {
    const { host } = this.#options.address;
    this.#end(new ServiceError('unavailable', `${host} ${text}`, { blame: 'destination' }));
  }

  #end(error: Error | undefined): void {
    if (!this.#hasEnded) {
      this.#hasEnded = true;
      clearTimeout(this.#timer);
      this.#connection?.close(new ServiceError('canceled', 'ended'));
      this.#onEnd(error);
    }
  }
}

/** And not what describes it. What cannot be read is the sink's to complain about. */
function isSound(body: Buffer): boolean {
  try {
    return parseRtmpAudio(body).some(({ audio }) => audio.packet === 'frame');
  } catch {
    return false;
  }
}
