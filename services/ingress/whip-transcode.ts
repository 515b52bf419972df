import type { IngressInfo } from '@livekit/protocol';
import { monotonicUs } from '../base/clock.ts';
import { SafeEmitter } from '../base/events.ts';
import type { Logger } from '../base/logger.ts';
import type { EncodedPacket, TrackFormat } from '../model/packet.ts';
import { mintToken } from '../protocol/token.ts';
import type { ConnectRoom, RemoteTrack, RoomClient } from '../rtc-client/room-client-types.ts';
import { ingressSettings } from './ingress-settings.ts';
import type { OnPacketLatency } from './packet-latency.ts';
import { LipSyncGate } from './publish/lip-sync-gate.ts';
import type { NewNames } from './live-update.ts';
import { ReceivedAudio } from './received-audio.ts';
import { ReceivedVideo } from './received-video.ts';
import { RoomPublisher, type RoomAccess } from './room-publisher.ts';

export type WhipTranscodeOptions = {
  info: IngressInfo;
  room: RoomAccess;
  resourceId: string;
  /** Where the encoder publishes; nobody but us looks in. */
  relayRoom: string;
  ffmpegPath: string;
  connectRoom: ConnectRoom;
  logger: Logger;
  onLatency?: OnPacketLatency;
};

export type WhipTranscodeEvents = {
  /** The room has a track with its first packets. */
  published: undefined;
  failed: { error: Error };
  /** Removed from the room, or the room is gone. */
  disconnected: { reason: string };
};

/** Long enough for the longest session: the token is only looked at when we join. */
const TOKEN_TTL_S = 600;

/**
 * The second half of a WHIP session that is transcoded. The encoder publishes into a room of its own, by the same
 * endpoint and transport as every other; we subscribe to it there, and publish what ffmpeg makes of it.
 */
export class WhipTranscode {
  readonly events: SafeEmitter<WhipTranscodeEvents>;
  readonly #options: WhipTranscodeOptions;
  readonly #publisher: RoomPublisher;
  readonly #video: ReceivedVideo;
  readonly #audio: ReceivedAudio;
  readonly #gate: LipSyncGate;
  readonly #abort = new AbortController();
  readonly #taken = new Set<'video' | 'audio'>();
  #source: Promise<RoomClient> | undefined;
  #closing: Promise<void> | undefined;

  /** @throws ServiceError failed_precondition when the endpoint's settings cannot be published. */
  constructor(options: WhipTranscodeOptions) {
    const { info, ffmpegPath, logger } = options;
    const settings = ingressSettings(info);
    this.#options = options;
    this.events = new SafeEmitter(logger);
    this.#publisher = new RoomPublisher({ ...options, settings });
    this.#publisher.setAttributes({ 'sluice.ingress.video': 'transcode: enable_transcoding' });
    this.#gate = new LipSyncGate((packet) => {
      this.#publisher.write(packet);
      options.onLatency?.('whip', packet.kind, monotonicUs() - packet.ptsUs);
    });
    this.#video = new ReceivedVideo({ ffmpegPath, settings: settings.video, logger });
    this.#audio = new ReceivedAudio({
      ffmpegPath,
      passthrough: info.audio?.encodingOptions.case === undefined,
      channels: settings.audio.channels,
      bitrateKbps: settings.audio.bitrateKbps,
      logger,
    });
    this.#wire();
  }

  get roomSid(): string {
    return this.#publisher.roomSid;
  }

  /** Joins both rooms; what goes wrong is an event. */
  start(): void {
    this.#publisher.join();
    this.#source = this.#subscribe();
    this.#source.catch((error: unknown) => {
      this.#fail(error);
    });
  }

  /** In the room, from now on and when it is joined later; '' leaves as it is. */
  rename(names: NewNames): void {
    this.#publisher.rename(names);
  }

  /** Idempotent; never rejects. */
  close(cause: string): Promise<void> {
    this.#closing ??= this.#end(cause);
    return this.#closing;
  }

  #wire(): void {
    const announce = (format: TrackFormat): void => {
      if (format.kind === 'video' || format.codec === 'opus') {
        this.#publisher.publish(format);
      }
    };
    const write = (packet: EncodedPacket): void => {
      this.#gate.write(packet);
    };
    this.#video.events.on('format', announce);
    this.#audio.events.on('format', announce);
    this.#video.events.on('packet', write);
    this.#audio.events.on('packet', write);
    for (const { events } of [this.#video, this.#audio]) {
      events.on('failed', ({ error }) => {
        this.#fail(error);
      });
    }
    this.#publisher.events.on('failed', ({ error }) => {
      this.#fail(error);
    });
    this.#publisher.events.on('published', () => this.events.emit('published', undefined));
    this.#publisher.events.on('disconnected', ({ reason }) => {
      if (this.#closing === undefined) {
        this.events.emit('disconnected', { reason });
      }
    });
  }

  async #subscribe(): Promise<RoomClient> {
    const { room, relayRoom, resourceId, connectRoom, logger } = this.#options;
    const token = await mintToken(room.apiKey, room.apiSecret, {
      identity: `transcoder-${resourceId}`,
      ttlS: TOKEN_TTL_S,
      video: { roomJoin: true, room: relayRoom, canPublish: false, canSubscribe: true, hidden: true },
    });
    const client = await connectRoom({
      url: room.wsUrl,
      token,
      autoSubscribe: false,
      receivesEveryCodec: true,
      logger,
      signal: this.#abort.signal,
    });
    client.events.on('trackPublished', (track) => {
      this.#take(client, track);
    });
    for (const track of client.tracks()) {
      this.#take(client, track);
    }
    return client;
  }

  #take(client: RoomClient, track: RemoteTrack): void {
    const { kind, trackSid } = track;
    if (this.#closing !== undefined || this.#taken.has(kind)) {
      return;
    }
    this.#taken.add(kind);
    client
      .subscribe(trackSid)
      .then((subscription) => {
        subscription.events.on('format', (format) => {
          if (format.kind === 'video') {
            this.#video.setFormat(format);
          }
        });
        subscription.events.on('packet', (packet) => {
          (kind === 'video' ? this.#video : this.#audio).write(packet);
        });
      })
      .catch((error: unknown) => {
        this.#fail(error);
      });
  }

  #fail(error: unknown): void {
    if (this.#closing === undefined) {
      this.events.emit('failed', { error: error instanceof Error ? error : new Error(String(error)) });
    }
  }

  async #end(cause: string): Promise<void> {
    this.#abort.abort();
    const source = await this.#source?.catch(() => undefined);
    const results = await Promise.allSettled([
      source?.close(cause),
      this.#video.close(),
      this.#audio.close(),
      this.#publisher.close(cause),
    ]);
    this.#gate.close();
    for (const result of results) {
      if (result.status === 'rejected') {
        this.#options.logger.warn({ err: result.reason as unknown }, 'transcoding did not end cleanly');
      }
    }
  }
}
