import type { Socket } from 'node:dgram';
import { setTimeout as delay } from 'node:timers/promises';
import { monotonicUs } from '../../base/clock.ts';
import { messageOf, ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { IngressSettings } from '../../model/ingress.ts';
import {
  inductionOf,
  isShutdown,
  parseHandshake,
  receiverDelayMsOf,
  rejection,
  shutdown,
  withCookie,
} from '../../protocol/srt-handshake.ts';
import type { EncoderConnection, MediaSink, PublishRequest } from '../servers/publisher-types.ts';
import { playLive } from '../url/play-input.ts';
import { readCaller, rejectOf } from './srt-admission.ts';
import type { SrtLimits } from './srt-limits.ts';
import { SrtSplices } from './srt-splices.ts';
import { freeLoopbackPort, listenerArgs, openLoopback } from './srt-reader.ts';

/** What becomes of an accepted publisher's media. */
export type SrtPublication = { sink: MediaSink; settings: Pick<IngressSettings, 'video' | 'audio'> };
/** @throws ServiceError whose code the caller is told. */
export type OnSrtPublish = (
  request: PublishRequest,
  connection: EncoderConnection,
) => Promise<SrtPublication>;

export type SrtConnectionOptions = {
  remoteAddress: string;
  /** The caller's socket id, and the handshake that opens the connection; its cookie was good. */
  callerId: number;
  conclusion: Buffer;
  /** '' = nothing may be encrypted. */
  passphrase: string;
  limits: SrtLimits;
  logger: Logger;
  ffmpegPath: string;
  onPublish: OnSrtPublish;
  /** To the caller. */
  send: (datagram: Buffer) => void;
  /** Packets for this socket id belong here from now on. */
  onOpen: (socketId: number) => void;
  /** A wrong key or passphrase: counted against guessing. */
  onWrongKey: () => void;
};

/** Why a connection ended; the first cause counts. */
type Ending =
  | { by: 'caller' }
  | { by: 'silence' }
  /** `drop`, or something here that failed. */
  | { by: 'us'; cause: string; failure: Error };

const KNOCK_MS = 20;
const WATCH_MS = 500;
/** A caller says goodbye behind its last packet; what the reader still holds is due so much later. */
const GOODBYE_MARGIN_MS = 100;
/** Callers send something every second, media or not. */
const SILENT_MS = 2_500;
const READER_GRACE_MS = 1_000;

/**
 * One SRT publisher. Its key is checked here; the connection itself is kept by an ffmpeg that listens on loopback, and
 * whose datagrams are carried to the caller and back. It never throws outwards.
 */
export class SrtConnection implements EncoderConnection {
  /** Resolves when nothing of it runs any more; never rejects. */
  readonly ended: Promise<void>;
  readonly #options: SrtConnectionOptions;
  readonly #stop = new AbortController();
  #conclusion: Buffer;
  #ending: Ending | undefined;
  #reader: Socket | undefined;
  #splices: SrtSplices | undefined;
  /** Of ffmpeg's own handshake; undefined while it does not listen. */
  #readerCookie: number | undefined;
  #readerDelayMs = 0;
  #readerId = 0;
  #isOpen = false;
  #heardUs = monotonicUs();
  #secondStartUs = 0;
  #secondBytes = 0;

  constructor(options: SrtConnectionOptions) {
    this.#options = options;
    this.#conclusion = options.conclusion;
    this.ended = this.#run();
  }

  /** No media can come yet. */
  get isHalfOpen(): boolean {
    return !this.#isOpen;
  }

  /** SRT has no words for the reason: the caller is told that it is over. */
  drop(cause: string): void {
    this.#end({ by: 'us', cause, failure: new ServiceError('aborted', cause) });
    this.#stop.abort();
  }

  /** The caller repeats its handshake until it is answered. */
  onConclusion(datagram: Buffer): void {
    this.#heardUs = monotonicUs();
    this.#conclusion = datagram;
    if (this.#readerCookie !== undefined) {
      this.#toReader(withCookie(datagram, this.#readerCookie));
    }
  }

  onPacket(datagram: Buffer): void {
    const nowUs = monotonicUs();
    this.#heardUs = nowUs;
    if (nowUs - this.#secondStartUs > 1_000_000) {
      this.#secondStartUs = nowUs;
      this.#secondBytes = 0;
    }
    this.#secondBytes += datagram.length;
    if (isShutdown(datagram)) {
      this.#end({ by: 'caller' });
    } else if (this.#secondBytes <= this.#options.limits.maxBytesPerS) {
      this.#splices?.onDatagram(datagram);
      this.#toReader(datagram);
    }
  }

  async #run(): Promise<void> {
    const publication = await this.#authorize();
    if (publication === undefined) {
      return;
    }
    const { sink, settings } = publication;
    const { logger, limits, ffmpegPath, passphrase, send, callerId } = this.#options;
    this.#splices = new SrtSplices({
      onChange: (eventId) => sink.outOfNetwork?.(eventId),
      delayMs: () => this.#readerDelayMs,
    });
    const watch = setInterval(() => this.#watch(), WATCH_MS);
    const opening = setTimeout(() => {
      this.#fail('the connection was not opened in time');
    }, limits.openTimeoutMs);
    let failure: unknown;
    try {
      this.#stop.signal.throwIfAborted();
      const port = await freeLoopbackPort();
      this.#reader = await openLoopback(port, (datagram) => this.#onReader(datagram, opening));
      const knocking = this.#knock();
      const args = listenerArgs(port, passphrase, limits.openTimeoutMs);
      await playLive(
        { args: () => args, env: {}, isSrt: true },
        {
          ...{ settings, ffmpegPath, sink, logger, signal: this.#stop.signal },
          ...{ stallMs: limits.mediaTimeoutMs, whatFails: 'the stream cannot be read' },
        },
      );
      await knocking;
    } catch (error) {
      failure = error;
    } finally {
      clearInterval(watch);
      clearTimeout(opening);
    }
    const ending = this.#ending ?? this.#endOfReader(failure);
    this.#ending = ending;
    this.#reader?.close();
    this.#reader = undefined;
    switch (ending.by) {
      case 'caller':
        sink.end('encoder stopped the stream');
        return;
      case 'silence':
        (sink.lost ?? sink.end)('encoder disconnected');
        return;
      case 'us':
        send(this.#isOpen ? shutdown(callerId) : rejection(this.#conclusion, 'unavailable'));
        logger.info({ cause: ending.cause }, 'srt publisher is hung up on');
        sink.end(ending.cause, ending.failure);
    }
  }

  /** Undefined: refused, or dropped meanwhile; the caller has been told. */
  async #authorize(): Promise<SrtPublication | undefined> {
    const { limits, logger, onPublish, onWrongKey, passphrase, remoteAddress, send } = this.#options;
    const startedMs = Date.now();
    try {
      const streamKey = await readCaller(this.#conclusion, passphrase);
      return await onPublish({ streamKey, remoteAddress }, this);
    } catch (error) {
      const reject = rejectOf(error);
      if (reject === 'notFound' || reject === 'badSecret') {
        onWrongKey();
      }
      logger.info({ reject, reason: messageOf(error) }, 'srt publisher refused');
      const waitMs = Math.max(0, limits.refusalDelayMs - (Date.now() - startedMs));
      await delay(waitMs, undefined, { signal: this.#stop.signal }).catch(() => undefined);
      send(rejection(this.#conclusion, reject));
      return undefined;
    }
  }

  /** The reader's own clock may find before ours that nobody sends any more. */
  #endOfReader(error: unknown): Ending {
    if (this.#isOpen && this.#silentMs > SILENT_MS) {
      return { by: 'silence' };
    }
    const failure = ServiceError.from(error ?? new Error('the stream has ended'), 'unavailable');
    return { by: 'us', cause: failure.message, failure };
  }

  /** Introduces us to ffmpeg in the caller's name as soon as it listens; it tells its cookie. */
  async #knock(): Promise<void> {
    while (this.#readerCookie === undefined && !this.#stop.signal.aborted) {
      this.#toReader(inductionOf(this.#conclusion));
      await delay(KNOCK_MS, undefined, { signal: this.#stop.signal }).catch(() => undefined);
    }
  }

  #onReader(datagram: Buffer, opening: NodeJS.Timeout): void {
    const { onOpen, send } = this.#options;
    const handshake = this.#isOpen ? undefined : parseHandshake(datagram);
    if (handshake?.kind === 'induction') {
      this.#readerCookie ??= handshake.cookie;
      this.#toReader(withCookie(this.#conclusion, this.#readerCookie));
      return;
    }
    if (handshake?.kind === 'conclusion') {
      this.#isOpen = true;
      this.#readerId = handshake.socketId;
      this.#readerDelayMs = receiverDelayMsOf(datagram);
      clearTimeout(opening);
      onOpen(handshake.socketId);
    }
    if (this.#ending?.by !== 'caller') {
      send(datagram);
    }
    if (handshake?.kind === 'other') {
      this.#fail('ffmpeg refuses the connection');
    }
  }

  get #silentMs(): number {
    return (monotonicUs() - this.#heardUs) / 1000;
  }

  #watch(): void {
    if (this.#silentMs > this.#options.limits.silenceTimeoutMs) {
      this.#end({ by: 'silence' });
    }
  }

  #fail(cause: string): void {
    this.#end({ by: 'us', cause, failure: new ServiceError('unavailable', cause) });
  }

  #end(ending: Ending): void {
    if (this.#ending !== undefined) {
      return;
    }
    this.#ending = ending;
    if (ending.by === 'caller') {
      void this.#sayGoodbye();
    } else {
      this.#stop.abort();
    }
  }

  /** The reader gives out nothing more once it has heard of the end: it hears of it when its last packet is due. */
  async #sayGoodbye(): Promise<void> {
    await delay(this.#readerDelayMs + GOODBYE_MARGIN_MS);
    this.#toReader(shutdown(this.#readerId));
    await delay(READER_GRACE_MS);
    this.#stop.abort();
  }

  #toReader(datagram: Buffer): void {
    this.#reader?.send(datagram);
  }
}
