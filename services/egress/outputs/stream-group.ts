import { StreamInfo, StreamInfo_Status } from '@livekit/protocol';
import { ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import type { EncodedPacket, TrackFormat } from '../../model/packet.ts';
import { parseStreamUrl, type StreamAddress, type StreamProtocol } from '../../model/stream-url.ts';
import { FlvMessages } from '../streams/flv-messages.ts';
import { Interleaver } from '../streams/interleaver.ts';
import { openRtmpLink } from '../streams/rtmp-publisher.ts';
import { openSrtLink } from '../streams/srt-link.ts';
import type { FlvMessage, OpenLink, StreamTimeouts } from '../streams/stream-link.ts';
import { StreamSender, type SenderStatus } from '../streams/stream-sender.ts';
import type { EgressOutput } from './output.ts';

/** Sound alone is sent in batches of this length; otherwise every picture takes the sound before it along. */
const MAX_HELD_US = 100_000;
const MAX_STREAMS = 50;

const WIRE_STATUS: Readonly<Record<SenderStatus, StreamInfo_Status>> = {
  active: StreamInfo_Status.ACTIVE,
  finished: StreamInfo_Status.FINISHED,
  failed: StreamInfo_Status.FAILED,
};

export type StreamsEnd =
  /** The last one was removed. */
  | { reason: 'streams_stopped' }
  /** The last one failed. */
  | { reason: 'failure'; error: ServiceError };

export type StreamGroupOptions = {
  protocol: StreamProtocol;
  /** Validated, their aliases resolved. */
  urls: readonly string[];
  kinds: readonly ('video' | 'audio')[];
  ffmpegPath: string;
  workDir: string;
  logger: Logger;
  /** After every change of a stream's state; nothing in it is secret. */
  onChange: (results: StreamInfo[]) => void;
  /** No stream is left. Others may be added later, if the job goes on. */
  onEmpty: (end: StreamsEnd) => void;
  /** A track has a codec that streams do not carry. */
  onRefused: (error: ServiceError) => void;
  /** For tests. */
  timeouts?: Partial<StreamTimeouts>;
  ca?: string;
};

type Stream = { address: StreamAddress; sender: StreamSender };

/** Several destinations of one encode. Each has its own connection, queue and fate. */
export class StreamGroup implements EgressOutput {
  readonly #options: StreamGroupOptions;
  readonly #messages: FlvMessages;
  readonly #interleaver: Interleaver<FlvMessage>;
  readonly #streams: Stream[] = [];
  #held: FlvMessage[] = [];
  #isClosing = false;

  constructor(options: StreamGroupOptions) {
    this.#options = options;
    this.#messages = new FlvMessages(options.kinds);
    this.#interleaver = new Interleaver(options.kinds, (message) => {
      this.#onMessage(message);
    });
    for (const url of options.urls) {
      this.#add(this.#parse(url));
    }
  }

  /** One entry per destination that ever was, in the order they were added. */
  get results(): StreamInfo[] {
    return this.#streams.map(({ address, sender }) => {
      const { facts } = sender;
      return new StreamInfo({
        url: address.redactedUrl,
        status: WIRE_STATUS[facts.status],
        startedAt: facts.startedAtNs,
        endedAt: facts.endedAtNs,
        duration:
          facts.startedAtNs === 0n || facts.endedAtNs === 0n ? 0n : facts.endedAtNs - facts.startedAtNs,
        error: facts.error,
        retries: facts.retries,
        lastRetryAt: facts.lastRetryAtNs,
      });
    });
  }

  /** Messages that destinations were too slow for, summed over all of them. */
  get droppedMessages(): number {
    return this.#streams.reduce((sum, { sender }) => sum + sender.droppedMessages, 0);
  }

  addTrack(format: TrackFormat): void {
    try {
      this.#messages.addTrack(format);
    } catch (error) {
      this.#options.onRefused(ServiceError.from(error));
    }
  }

  write(packet: EncodedPacket): void {
    const message = this.#messages.build(packet);
    if (message !== undefined) {
      this.#interleaver.push(message);
    }
  }

  /**
   * Adds and removes destinations; all or nothing.
   * @throws ServiceError invalid_argument "invalid url: …", already_exists, or not_found "stream … not found".
   */
  async update(add: readonly string[], remove: readonly string[]): Promise<void> {
    const added = add.map((url) => this.#parse(url));
    const removed = remove.map((url) => this.#find(url));
    added.forEach((address, index) => {
      const isTwice = added.findIndex(({ url }) => url === address.url) < index;
      if (isTwice || this.#running(address.url) !== undefined) {
        throw new ServiceError('already_exists', `stream ${address.redactedUrl} exists already`);
      }
    });
    if (this.#active().length + added.length - removed.length > MAX_STREAMS) {
      throw new ServiceError('resource_exhausted', `one job streams to at most ${MAX_STREAMS} addresses`);
    }
    for (const address of added) {
      this.#add(address);
    }
    await Promise.all(removed.map(({ sender }) => sender.finish()));
    this.#options.onChange(this.results);
  }

  async finish(): Promise<void> {
    this.#isClosing = true;
    this.#interleaver.flush();
    this.#flush();
    await Promise.all(this.#streams.map(({ sender }) => sender.finish()));
  }

  async close(_cause: string): Promise<void> {
    this.#isClosing = true;
    await Promise.all(this.#streams.map(({ sender }) => sender.close()));
  }

  #parse(url: string): StreamAddress {
    return parseStreamUrl(url, { protocol: this.#options.protocol });
  }

  #running(url: string): Stream | undefined {
    return this.#active().find(({ address }) => address.url === url);
  }

  #active(): Stream[] {
    return this.#streams.filter(({ sender }) => sender.facts.status === 'active');
  }

  #find(url: string): Stream {
    const { url: parsed, redactedUrl } = this.#parse(url);
    const stream = this.#running(parsed);
    if (stream === undefined) {
      throw new ServiceError('not_found', `stream ${redactedUrl} not found`);
    }
    return stream;
  }

  #add(address: StreamAddress): void {
    const { logger, timeouts } = this.#options;
    const sender = new StreamSender({
      openLink: this.#opener(address),
      metadata: () => this.#messages.metadata(),
      logger: logger.child({ stream: address.redactedUrl }),
      onChange: () => {
        this.#options.onChange(this.results);
      },
      ...(timeouts === undefined ? {} : { timeouts }),
    });
    this.#streams.push({ address, sender });
    void sender.ended.then(() => {
      this.#onEnded(sender);
    });
  }

  #opener(address: StreamAddress): OpenLink {
    const { ffmpegPath, workDir, kinds, ca, timeouts } = this.#options;
    switch (address.protocol) {
      case 'rtmp':
        return (options) =>
          openRtmpLink({
            ...options,
            address,
            ...(ca === undefined ? {} : { ca }),
            ...(timeouts?.openMs === undefined ? {} : { openTimeoutMs: timeouts.openMs }),
          });
      case 'srt':
        return (options) => openSrtLink({ ...options, address, ffmpegPath, workDir, kinds });
    }
  }

  #onEnded(sender: StreamSender): void {
    if (this.#isClosing || this.#active().length > 0) {
      return;
    }
    const { status, error } = sender.facts;
    this.#options.onEmpty(
      status === 'failed'
        ? { reason: 'failure', error: new ServiceError('unavailable', error, { blame: 'destination' }) }
        : { reason: 'streams_stopped' },
    );
  }

  /** Every write is a system call and a wake-up of the platform: messages leave together. */
  #onMessage(message: FlvMessage): void {
    this.#held.push(message);
    const firstUs = this.#held[0]?.dtsUs ?? message.dtsUs;
    if (message.kind === 'video' || message.dtsUs - firstUs >= MAX_HELD_US) {
      this.#flush();
    }
  }

  #flush(): void {
    const messages = this.#held;
    this.#held = [];
    for (const { sender } of this.#streams) {
      sender.offer(messages);
    }
  }
}
