/* eslint-disable @typescript-eslint/no-deprecated -- the oneof field `value` is not deprecated, only one of its cases is */
import {
  AddTrackRequest,
  AudioTrackFeature,
  MuteTrackRequest,
  RequestResponse_Reason,
  SimulcastCodec,
  TrackPublishedResponse,
  type TrackInfo,
  TrackType,
  VideoLayer,
  VideoQuality,
  type RequestResponse,
  type SubscribedQualityUpdate,
} from '@livekit/protocol';
import { ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { publishCodecs } from './codec-offer.ts';
import type { MediaPeer } from './media-peer.ts';
import { TRACK_SOURCE_TO_WIRE } from './participants.ts';
import type { PublishOptions } from './room-client-types.ts';
import { SendClock } from './send-clock.ts';
import type { SignalRequestMessage } from './signal-connection.ts';
import { LocalPublisher, type PublisherHost } from './track-publisher.ts';

/** As long as livekit-client waits for trackPublished. */
const PUBLISH_TIMEOUT_MS = 10_000;
/** Wire value of each layer index. */
const QUALITIES = [VideoQuality.LOW, VideoQuality.MEDIUM, VideoQuality.HIGH] as const;

type Pending = { resolve: (info: TrackInfo) => void; reject: (error: Error) => void };

/** Everything this client publishes. */
export class LocalTracks {
  readonly #publishers = new Map<LocalPublisher, TrackInfo>();
  readonly #pending = new Map<string, Pending>();
  readonly #clock = new SendClock();
  readonly #send: (message: SignalRequestMessage) => void;
  readonly #peer: () => MediaPeer | undefined;
  readonly #logger: Logger;

  constructor(options: {
    send: (message: SignalRequestMessage) => void;
    peer: () => MediaPeer | undefined;
    logger: Logger;
  }) {
    this.#send = options.send;
    this.#peer = options.peer;
    this.#logger = options.logger;
  }

  /** For syncState. */
  published(): TrackPublishedResponse[] {
    return [...this.#publishers].map(
      ([publisher, track]) => new TrackPublishedResponse({ cid: publisher.cid, track }),
    );
  }

  /** @throws ServiceError unimplemented | permission_denied | failed_precondition | deadline_exceeded | aborted. */
  async publish(options: PublishOptions): Promise<LocalPublisher> {
    const host: PublisherHost = {
      clock: this.#clock,
      setMuted: (sid, muted) => this.#send({ case: 'mute', value: new MuteTrackRequest({ sid, muted }) }),
      unpublish: (publisher) => this.#unpublish(publisher),
      report: (ssrc) => this.#peer()?.report(ssrc),
    };
    const publisher = new LocalPublisher(options, host, this.#logger);
    await this.#announce(publisher);
    return publisher;
  }

  /**
   * Publishes everything again in a new session. A track the server refuses now is closed; rejects when the new
   * session broke too, and everything waits for the next one.
   */
  async republish(): Promise<void> {
    await Promise.all(
      [...this.#publishers.keys()].map(async (publisher) => {
        try {
          await this.#announce(publisher);
        } catch (error) {
          const failure = ServiceError.from(error);
          if (failure.retryable || failure.code === 'aborted') {
            throw failure;
          }
          this.#logger.warn(
            { err: failure, track: publisher.options.name },
            'track could not be published again',
          );
          this.#publishers.delete(publisher);
          publisher.close('could not be published again after a reconnect');
        }
      }),
    );
  }

  /** The transport is gone: packets are held back until republish(). */
  detach(): void {
    for (const publisher of this.#publishers.keys()) {
      publisher.attach(undefined);
    }
  }

  onPublished(response: TrackPublishedResponse): void {
    if (response.track !== undefined) {
      this.#pending.get(response.cid)?.resolve(response.track);
    }
  }

  /** The server refused a request. */
  onRequestResponse(response: RequestResponse): void {
    if (response.request.case === 'addTrack' && response.reason !== RequestResponse_Reason.OK) {
      const code =
        response.reason === RequestResponse_Reason.NOT_ALLOWED ? 'permission_denied' : 'failed_precondition';
      const text = response.message === '' ? RequestResponse_Reason[response.reason] : response.message;
      this.#pending
        .get(response.request.value.cid)
        ?.reject(new ServiceError(code, `the server refused the track: ${text}`));
    }
  }

  onServerMute(trackSid: string, muted: boolean): void {
    this.#bySid(trackSid)?.applyMute(muted);
  }

  /** Which layers anybody wants. */
  onQualities({ trackSid, subscribedQualities, subscribedCodecs }: SubscribedQualityUpdate): void {
    // Servers fill in one or the other, or both.
    const qualities = [...subscribedQualities, ...subscribedCodecs.flatMap((codec) => codec.qualities)];
    this.#bySid(trackSid)?.applyDemand(qualities.some(({ enabled }) => enabled));
  }

  onServerUnpublish(trackSid: string): void {
    const publisher = this.#bySid(trackSid);
    if (publisher !== undefined) {
      this.#publishers.delete(publisher);
      this.#peer()?.stopSend(publisher.mid);
      publisher.close('unpublished by the server');
    }
  }

  close(cause: string): void {
    for (const { reject } of [...this.#pending.values()]) {
      reject(new ServiceError('aborted', `publishing was interrupted: ${cause}`));
    }
    for (const publisher of this.#publishers.keys()) {
      publisher.close(cause);
    }
    this.#publishers.clear();
  }

  #bySid(trackSid: string): LocalPublisher | undefined {
    return [...this.#publishers.keys()].find((publisher) => publisher.trackSid === trackSid);
  }

  async #announce(publisher: LocalPublisher): Promise<void> {
    const peer = this.#peer();
    if (peer === undefined) {
      throw new ServiceError('unavailable', 'not connected to the room');
    }
    const { format } = publisher.options;
    const codecs = publishCodecs(format.codec, format.kind === 'audio' ? format.channels : 1);
    const mid = peer.addSend({
      kind: format.kind,
      codecs,
      trackId: publisher.cid,
      encodings: publisher.encodings,
    });
    try {
      const published = this.#awaitPublished(publisher.cid);
      this.#send({ case: 'addTrack', value: addTrackRequest(publisher) });
      const [info] = await Promise.all([published, peer.negotiate()]);
      const streams = peer.sendStreams(mid);
      if (streams.size === 0) {
        throw new ServiceError('failed_precondition', `the server does not accept ${format.codec} from us`, {
          blame: 'destination',
        });
      }
      publisher.assign(info.sid, mid);
      this.#publishers.set(publisher, info);
      publisher.attach(streams);
    } catch (error) {
      peer.stopSend(mid);
      throw error;
    } finally {
      this.#pending.get(publisher.cid)?.reject(new ServiceError('aborted', 'publishing ended'));
      this.#pending.delete(publisher.cid);
    }
  }

  #awaitPublished(cid: string): Promise<TrackInfo> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(
          new ServiceError(
            'deadline_exceeded',
            `the server did not confirm the track within ${PUBLISH_TIMEOUT_MS} ms`,
          ),
        );
      }, PUBLISH_TIMEOUT_MS);
      this.#pending.set(cid, {
        resolve: (info) => {
          clearTimeout(timer);
          resolve(info);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      });
    });
  }

  async #unpublish(publisher: LocalPublisher): Promise<void> {
    if (!this.#publishers.delete(publisher)) {
      return;
    }
    const peer = this.#peer();
    peer?.stopSend(publisher.mid);
    await peer?.negotiate().catch((error: unknown) => {
      this.#logger.debug({ err: error }, 'unpublishing ended with the connection');
    });
  }
}

function videoLayer(
  quality: VideoQuality,
  { width, height }: { width: number; height: number },
  bitrateKbps = 0,
): VideoLayer {
  return new VideoLayer({ quality, width, height, bitrate: bitrateKbps * 1000 });
}

function addTrackRequest(publisher: LocalPublisher): AddTrackRequest {
  const { format, name, source, bitrateKbps } = publisher.options;
  const common = { cid: publisher.cid, name, source: TRACK_SOURCE_TO_WIRE[source], muted: publisher.muted };
  if (format.kind === 'audio') {
    const stereo = format.channels > 1;
    return new AddTrackRequest({
      ...common,
      type: TrackType.AUDIO,
      stereo,
      disableDtx: true,
      disableRed: true,
      audioFeatures: stereo
        ? [AudioTrackFeature.TF_STEREO, AudioTrackFeature.TF_NO_DTX]
        : [AudioTrackFeature.TF_NO_DTX],
    });
  }
  const { width, height } = format;
  const layers = format.layers?.map((layer) => videoLayer(QUALITIES[layer.layer], layer)) ?? [
    videoLayer(VideoQuality.HIGH, format, bitrateKbps),
  ];
  return new AddTrackRequest({
    ...common,
    type: TrackType.VIDEO,
    width,
    height,
    layers,
    simulcastCodecs: [new SimulcastCodec({ codec: format.codec, cid: publisher.cid, layers })],
  });
}
