import { ServiceError } from '../../base/errors.ts';
import type { RtmpAddress } from '../../model/stream-url.ts';
import { amfObject, encodeAmf0, type AmfObject, type AmfValue } from '../../protocol/amf0.ts';
import { chunkMessages, type OutgoingMessage } from '../../protocol/rtmp-chunk-batch.ts';
import { RTMP_MESSAGE } from '../../protocol/rtmp-message.ts';
import { statusProperty, statusReason } from '../../protocol/rtmp-status.ts';
import { dial } from '../../base/net/dial.ts';
import { LinkClock } from './link-clock.ts';
import { RtmpClientConnection, type RtmpCommand } from '../../protocol/rtmp-client-connection.ts';
import { STREAM_TIMEOUTS, type FlvMessage, type OpenLinkOptions, type StreamLink } from './stream-link.ts';

/** What ffmpeg uses too; a picture rarely needs a second chunk. */
const CHUNK_BYTES = 60_000;
const CHUNK_STREAM = { audio: 4, data: 5, video: 6 } as const;
const TRANSACTION = {
  connect: 1,
  releaseStream: 2,
  fcPublish: 3,
  createStream: 4,
  publish: 5,
  end: 6,
} as const;

export type RtmpLinkOptions = OpenLinkOptions & {
  address: RtmpAddress;
  /** Trusted instead of the public authorities (PEM); for tests. */
  ca?: string;
  openTimeoutMs?: number;
};

/**
 * Connects to an RTMP or RTMPS platform and asks to publish (RTMP 1.0 section 7.2.2.6).
 * @throws ServiceError that names the host and its answer: unreachable, TLS, handshake, rejected, name taken.
 */
export async function openRtmpLink(options: RtmpLinkOptions): Promise<StreamLink> {
  const { address, signal, ca } = options;
  const openTimeoutMs = options.openTimeoutMs ?? STREAM_TIMEOUTS.openMs;
  const { host, port, secure } = address;
  const socket = await dial({
    host,
    port,
    secure,
    timeoutMs: openTimeoutMs,
    signal,
    ...(ca === undefined ? {} : { ca }),
  });
  const link = new RtmpLink(options, (events) => new RtmpClientConnection(socket, host, events));
  await link.opened(openTimeoutMs, signal);
  return link;
}

type Step = 'handshake' | 'connect' | 'create stream' | 'publish' | 'streaming';

class RtmpLink implements StreamLink {
  readonly closed: Promise<Error>;
  /** What the network did not take yet holds back the callback of write(). */
  readonly hasUnsent = false;
  sentBytes = 0;
  readonly #options: RtmpLinkOptions;
  readonly #connection: RtmpClientConnection;
  readonly #publishing: Promise<void>;
  #resolveClosed: (error: Error) => void = () => undefined;
  #resolvePublishing: () => void = () => undefined;
  #rejectPublishing: (error: Error) => void = () => undefined;
  #step: Step = 'handshake';
  #streamId = 0;
  readonly #clock = new LinkClock();
  readonly #configs: { video?: FlvMessage['config']; audio?: FlvMessage['config'] } = {};

  constructor(
    options: RtmpLinkOptions,
    connect: (events: ConstructorParameters<typeof RtmpClientConnection>[2]) => RtmpClientConnection,
  ) {
    this.#options = options;
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.#publishing = new Promise((resolve, reject) => {
      this.#resolvePublishing = resolve;
      this.#rejectPublishing = reject;
    });
    this.#publishing.catch(() => undefined);
    this.#connection = connect({
      onHandshake: () => {
        this.#connect();
      },
      onCommand: (command) => {
        this.#onCommand(command);
      },
      onClosed: (error) => {
        this.#onClosed(error);
      },
    });
  }

  async opened(timeoutMs: number, signal: AbortSignal): Promise<void> {
    const timer = setTimeout(() => {
      this.#fail(`did not answer within ${timeoutMs / 1000} s (${this.#step})`);
    }, timeoutMs);
    const onAbort = (): void => {
      this.destroy(new ServiceError('canceled', 'the stream was ended'));
    };
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await this.#publishing;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
    }
  }

  write(batch: readonly FlvMessage[], onTaken: () => void): void {
    const chunks = chunkMessages(
      batch.flatMap((message) => this.#messagesOf(message)),
      CHUNK_BYTES,
    );
    this.#connection.write(chunks, () => {
      this.sentBytes += chunks.length;
      onTaken();
    });
  }

  async finish(): Promise<void> {
    const { streamKey } = this.#options.address;
    this.#connection.command(0, 'FCUnpublish', TRANSACTION.end, null, streamKey);
    this.#connection.command(0, 'deleteStream', TRANSACTION.end + 1, null, this.#streamId);
    await this.#connection.end(STREAM_TIMEOUTS.drainMs);
  }

  destroy(error: Error): void {
    this.#connection.close(ServiceError.from(error));
  }

  #connect(): void {
    const { app, host, port, secure } = this.#options.address;
    this.#step = 'connect';
    const authority = `${host.includes(':') ? `[${host}]` : host}:${port}`;
    this.#connection.command(
      0,
      'connect',
      TRANSACTION.connect,
      amfObject({
        app,
        type: 'nonprivate',
        flashVer: 'FMLE/3.0 (compatible; Sluice)',
        tcUrl: `${secure ? 'rtmps' : 'rtmp'}://${authority}/${app}`,
      }),
    );
  }

  #createStream(): void {
    const { streamKey } = this.#options.address;
    this.#step = 'create stream';
    this.#connection.setChunkBytes(CHUNK_BYTES);
    // The first two are customs of Flash Media Server; answers to them do not matter.
    this.#connection.command(0, 'releaseStream', TRANSACTION.releaseStream, null, streamKey);
    this.#connection.command(0, 'FCPublish', TRANSACTION.fcPublish, null, streamKey);
    this.#connection.command(0, 'createStream', TRANSACTION.createStream, null);
  }

  #publish(streamId: AmfValue): void {
    if (typeof streamId !== 'number' || !(streamId >= 0 && streamId <= 0xffffffff)) {
      this.#fail('answered createStream without a stream');
      return;
    }
    this.#step = 'publish';
    this.#streamId = streamId;
    this.#connection.command(
      streamId,
      'publish',
      TRANSACTION.publish,
      null,
      this.#options.address.streamKey,
      'live',
    );
  }

  #onCommand({ name, transaction, args }: RtmpCommand): void {
    switch (name) {
      case '_result':
        if (transaction === TRANSACTION.connect && this.#step === 'connect') {
          this.#createStream();
        } else if (transaction === TRANSACTION.createStream && this.#step === 'create stream') {
          this.#publish(args[1]);
        }
        break;
      case '_error':
        if (transaction === TRANSACTION.connect || transaction === TRANSACTION.createStream) {
          this.#fail(`refused (${this.#step}): ${statusReason(args[1], this.#options.address.streamKey)}`);
        }
        break;
      case 'onStatus':
        this.#onStatus(args[1]);
        break;
      case 'close':
        this.#fail('ended the connection');
        break;
      default:
      // onBWDone, onFCPublish and other customs.
    }
  }

  #onStatus(info: AmfValue): void {
    const level = statusProperty(info, 'level');
    const code = statusProperty(info, 'code');
    if (
      level === 'error' ||
      code === 'NetStream.Unpublish.Success' ||
      code === 'NetConnection.Connect.Closed'
    ) {
      this.#fail(
        `${this.#step === 'streaming' ? 'ended the stream' : 'refused'}: ${statusReason(info, this.#options.address.streamKey)}`,
      );
    } else if (code === 'NetStream.Publish.Start' && this.#step === 'publish') {
      this.#step = 'streaming';
      this.#resolvePublishing();
    }
  }

  #onClosed(error: ServiceError): void {
    const asked = this.#step === 'publish' && error.code === 'unavailable';
    const reason = asked
      ? unavailable(`${error.message} when asked to publish: is the stream key right?`)
      : error;
    this.#rejectPublishing(reason);
    this.#resolveClosed(reason);
  }

  #messagesOf(message: FlvMessage): OutgoingMessage[] {
    const timestampMs = this.#clock.timestampMs(message);
    if (timestampMs === undefined) {
      return [];
    }
    const toMessage = (kind: 'video' | 'audio', body: FlvMessage['body']): OutgoingMessage => ({
      chunkStreamId: CHUNK_STREAM[kind],
      typeId: RTMP_MESSAGE[kind],
      messageStreamId: this.#streamId,
      timestampMs,
      body,
    });
    const media = toMessage(message.kind, message.body);
    if (this.#configs[message.kind] === message.config) {
      return [media];
    }
    this.#configs[message.kind] = message.config;
    return [this.#metadata(timestampMs), toMessage(message.kind, message.config), media];
  }

  #metadata(timestampMs: number): OutgoingMessage {
    const metadata: AmfObject = this.#options.metadata();
    return {
      chunkStreamId: CHUNK_STREAM.data,
      typeId: RTMP_MESSAGE.dataAmf0,
      messageStreamId: this.#streamId,
      timestampMs,
      body: [encodeAmf0(['@setDataFrame', 'onMetaData', metadata])],
    };
  }

  #fail(text: string): void {
    this.#connection.close(unavailable(`${this.#options.address.host} ${text}`));
  }
}

function unavailable(text: string): ServiceError {
  return new ServiceError('unavailable', text, { blame: 'destination' });
}
