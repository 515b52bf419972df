import { SafeEmitter } from '../base/events.ts';
import type { Logger } from '../base/logger.ts';
import type { IngressSettings } from '../model/ingress.ts';
import type { AudioFormat, EncodedPacket, VideoFormat } from '../model/packet.ts';
import { mintToken } from '../protocol/token.ts';
import type { ConnectRoom, PublishOptions, RoomClient } from '../rtc-client/room-client-types.ts';
import { PublishedTrack } from './publish/published-track.ts';

/** Where rooms are, and what opens them. */
export type RoomAccess = { wsUrl: string; apiKey: string; apiSecret: string };

export type RoomPublisherEvents = {
  /** The room has a track with its first packets. */
  published: { kind: 'video' | 'audio' };
  /** Whether anybody is to get the picture. */
  watched: { isWatched: boolean };
  failed: { error: Error };
  /** Removed from the room, or the room is gone. */
  disconnected: { reason: string };
};

export type RoomPublisherOptions = {
  room: RoomAccess;
  settings: IngressSettings;
  resourceId: string;
  connectRoom: ConnectRoom;
  logger: Logger;
};

/** LiveKit's: a session that lasts longer stays in the room, it only cannot join again. */
const TOKEN_TTL_S = 24 * 3600;

/** The participant an ingress session is in its room. Joining takes a moment; packets may be written at once. */
export class RoomPublisher {
  readonly events: SafeEmitter<RoomPublisherEvents>;
  readonly #options: RoomPublisherOptions;
  readonly #abort = new AbortController();
  readonly #tracks = new Map<'video' | 'audio', PublishedTrack>();
  #joined: Promise<RoomClient> | undefined;
  #client: RoomClient | undefined;
  #attributes: Record<string, string>;
  #names: { name: string; metadata: string };
  #hasPublished = false;
  #closing: Promise<void> | undefined;

  constructor(options: RoomPublisherOptions) {
    this.#options = options;
    this.events = new SafeEmitter(options.logger);
    this.#names = options.settings.participant;
    this.#attributes = { 'ingress.resourceID': options.resourceId };
  }

  /** Starts joining. Call once, before the first track. */
  join(): void {
    this.#joined = this.#connect();
    this.#joined.catch((error: unknown) => {
      this.#fail(error);
    });
  }

  /** '' until the room is joined. */
  get roomSid(): string {
    return this.#client?.roomSid ?? '';
  }

  /** The room has had a track of ours. */
  get hasPublished(): boolean {
    return this.#hasPublished;
  }

  setAttributes(attributes: Record<string, string>): void {
    this.#attributes = { ...this.#attributes, ...attributes };
    this.#client?.updateAttributes(this.#attributes);
  }

  /** In the room, from now on and when it is joined later; '' leaves as it is. */
  rename(names: { name: string; metadata: string }): void {
    this.#names = {
      name: names.name || this.#names.name,
      metadata: names.metadata || this.#names.metadata,
    };
    this.#client?.updateProfile(names);
  }

  /** Publishes a track; another picture takes the place of the one there was. Write packets without waiting. */
  publish(format: VideoFormat | AudioFormat): void {
    const previous = this.#tracks.get(format.kind);
    if (this.#closing !== undefined || (format.kind === 'audio' && previous !== undefined)) {
      return; // sound is Opus whatever came before it
    }
    const track = new PublishedTrack(format.kind);
    this.#tracks.set(format.kind, track);
    this.#attach(track, format, previous).catch((error: unknown) => {
      this.#fail(error);
    });
  }

  write(packet: EncodedPacket): void {
    this.#tracks.get(packet.kind)?.write(packet);
  }

  /** Unpublishes and leaves. Idempotent; never rejects. */
  close(cause: string): Promise<void> {
    this.#closing ??= this.#leave(cause);
    return this.#closing;
  }

  async #connect(): Promise<RoomClient> {
    const { room, settings, connectRoom, logger } = this.#options;
    const { identity } = settings.participant;
    const { name, metadata } = this.#names;
    const token = await mintToken(room.apiKey, room.apiSecret, {
      identity,
      name,
      metadata,
      kind: 'ingress',
      attributes: { 'ingress.ingressID': settings.ingressId },
      ttlS: TOKEN_TTL_S,
      video: {
        roomJoin: true,
        room: settings.roomName,
        canPublish: true,
        canSubscribe: false,
        canUpdateOwnMetadata: true,
      },
    });
    const client = await connectRoom({
      url: room.wsUrl,
      token,
      autoSubscribe: false,
      logger,
      signal: this.#abort.signal,
    });
    client.events.on('disconnected', ({ reason }) => {
      if (this.#closing === undefined) {
        this.events.emit('disconnected', { reason });
      }
    });
    this.#client = client;
    client.updateAttributes(this.#attributes);
    return client;
  }

  async #attach(
    track: PublishedTrack,
    format: VideoFormat | AudioFormat,
    previous: PublishedTrack | undefined,
  ): Promise<void> {
    const { name, source } = this.#options.settings[format.kind];
    const options: PublishOptions =
      format.kind === 'video' ? { format, name, source } : { format, name, source };
    const client = await this.#joined;
    await previous?.close();
    if (client === undefined || this.#closing !== undefined || track.wasClosed()) {
      return;
    }
    const publisher = await client.publish(options);
    if (track.wasClosed()) {
      await publisher.unpublish();
      return;
    }
    if (track.kind === 'video') {
      this.events.emit('watched', { isWatched: true });
      publisher.events.on('watched', (demand) => {
        if (!track.wasClosed()) {
          this.events.emit('watched', demand);
        }
      });
    }
    track.attach(publisher);
    this.#hasPublished = true;
    this.events.emit('published', { kind: track.kind });
  }

  #fail(error: unknown): void {
    if (this.#closing === undefined) {
      this.events.emit('failed', { error: error instanceof Error ? error : new Error(String(error)) });
    }
  }

  async #leave(cause: string): Promise<void> {
    this.#abort.abort();
    const results = await Promise.allSettled([...this.#tracks.values()].map((track) => track.close()));
    const client = await this.#joined?.catch(() => undefined);
    const left = await Promise.allSettled([client?.close(cause)]);
    for (const result of [...results, ...left]) {
      if (result.status === 'rejected') {
        this.#options.logger.warn({ err: result.reason as unknown }, 'leaving the room failed');
      }
    }
  }
}
