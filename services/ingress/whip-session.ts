import type { IngressInfo, IngressState, UpdateIngressRequest } from '@livekit/protocol';
import { messageOf, ServiceError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import type { Logger } from '../base/logger.ts';
import type { Bus, Unregister } from '../bus/bus.ts';
import type { WHIPRTCConnectionNotifyRequest } from '../bus/rpc-messages.ts';
import { IngressHandler, RoomInternal } from '../bus/rpc-methods.ts';
import { relayRoomName } from '../model/room.ts';
import type { ConnectRoom } from '../rtc-client/room-client-types.ts';
import { ingressSettings } from './ingress-settings.ts';
import { liveUpdate, type NewNames } from './live-update.ts';
import { MediaWatchdog } from './media-watchdog.ts';
import type { OnPacketLatency } from './packet-latency.ts';
import type { RoomAccess } from './room-publisher.ts';
import type { WhipAnswer, WhipPatch, WhipPatchReply } from './servers/whip-types.ts';
import type { RunningSession } from './session-registry.ts';
import { StateReporter } from './state-reporter.ts';
import { WhipTranscode } from './whip-transcode.ts';
import { WhipUpstream } from './whip-upstream.ts';

export type WhipIngressSessionOptions = {
  bus: Bus;
  logger: Logger;
  info: IngressInfo;
  room: RoomAccess;
  /** For endpoints with enable_transcoding. */
  ffmpegPath: string;
  connectRoom: ConnectRoom;
  onLatency?: OnPacketLatency;
};

const TOKEN_TTL_S = 24 * 3600;
/** The room's side reports every 4 s, and gives up on an encoder that does not connect after 30 s. */
const REPORT_TIMEOUT_MS = 45_000;

/**
 * One encoder that publishes by WHIP. The room's own server answers the offer and takes the media; here are the key,
 * the participant's name, and the record that everybody can list. With enable_transcoding the encoder publishes into a
 * relay room in the same way, and WhipTranscode carries on from there.
 */
export class WhipIngressSession implements RunningSession {
  /** Resolves when everything is closed and the last state is reported; never rejects. */
  readonly ended: Promise<void>;
  readonly #options: WhipIngressSessionOptions;
  readonly #logger: Logger;
  readonly #state: StateReporter;
  readonly #upstream: WhipUpstream;
  readonly #settings: ReturnType<typeof ingressSettings>;
  /** Undefined: packets pass through. */
  readonly #transcode: WhipTranscode | undefined;
  #handlers: Unregister[] = [];
  /** With the names of the latest update. */
  #info: IngressInfo;
  #reportTimer: NodeJS.Timeout | undefined;
  readonly #watchdog = new MediaWatchdog((error) => {
    void this.#finish(error.message, error);
  });
  #stopping = false;
  #silent = false;
  #resolveEnded: () => void = () => undefined;

  /** @throws ServiceError failed_precondition when the endpoint's settings cannot be published. */
  constructor(options: WhipIngressSessionOptions) {
    const { bus, info, room } = options;
    this.#options = options;
    this.#info = info;
    this.#settings = ingressSettings(info);
    const resourceId = newId('WH_');
    this.#logger = options.logger.child({ ingressId: info.ingressId, resourceId, room: info.roomName });
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
    this.#state = new StateReporter(bus, info, resourceId, this.#logger, () => {
      void this.stop('ingress deleted');
    });
    const relayRoom = info.enableTranscoding === true ? relayRoomName(resourceId) : undefined;
    if (relayRoom !== undefined) {
      this.#transcode = new WhipTranscode({ ...options, resourceId, relayRoom, logger: this.#logger });
      this.#wire(this.#transcode);
    }
    this.#upstream = new WhipUpstream(room, {
      ...this.#settings.participant,
      kind: 'ingress',
      attributes: {
        'ingress.ingressID': info.ingressId,
        'ingress.resourceID': resourceId,
        'sluice.ingress.video': 'passthrough',
      },
      ttlS: TOKEN_TTL_S,
      video: {
        roomJoin: true,
        room: relayRoom ?? this.#settings.roomName,
        canPublish: true,
        canSubscribe: false,
        canUpdateOwnMetadata: true,
      },
    });
  }

  get isEnding(): boolean {
    return this.#stopping;
  }

  get isSilent(): boolean {
    return this.#silent;
  }

  /** Reports BUFFERING and takes the offer to the room. @throws ServiceError with the reason the encoder is told. */
  async start(offerSdp: string): Promise<WhipAnswer> {
    const { bus, info } = this.#options;
    const topic = info.ingressId;
    this.#state.setStatus('buffering');
    this.#handlers = await Promise.all([
      bus.serve(IngressHandler.updateIngress, (request) => this.#update(request), { topic }),
      bus.serve(IngressHandler.deleteIngress, () => this.stop('ingress deleted'), { topic }),
    ]);
    try {
      await this.#state.report();
      const { audio, video } = this.#settings;
      const answer = await this.#upstream.publish(offerSdp, {
        audio: { name: audio.name, source: audio.source },
        video: { name: video.name, source: video.source },
      });
      await this.#listen();
      this.#transcode?.start();
      this.#watchdog.expectMedia();
      this.#logger.info({ participantSid: this.#upstream.participantId }, 'WHIP session started');
      return answer;
    } catch (error) {
      await this.#release();
      throw error;
    }
  }

  patch(request: WhipPatch): Promise<WhipPatchReply> {
    return this.#upstream.patch(request);
  }

  /** Ends the encoder's connection; resolves to the final state. */
  async stop(cause: string): Promise<IngressState> {
    await this.#finish(cause);
    return this.#state.snapshot();
  }

  /** New names are told the room; anything else ends the session, and the encoder comes back to the new settings. */
  async #update(request: UpdateIngressRequest): Promise<IngressState> {
    const names = liveUpdate(this.#info, request);
    if (names === undefined || !(await this.#rename(names))) {
      return this.stop('ingress updated');
    }
    this.#info = this.#info.clone();
    this.#info.participantName = names.name || this.#info.participantName;
    this.#info.participantMetadata = names.metadata || this.#info.participantMetadata;
    this.#logger.info('ingress renamed');
    return this.#state.snapshot();
  }

  /** The participant belongs to the room's server; false: it does not listen to us. */
  async #rename(names: NewNames): Promise<boolean> {
    if (this.#transcode !== undefined) {
      this.#transcode.rename(names);
      return true;
    }
    const { roomName: room, participant } = this.#settings;
    try {
      if (names.name !== '' || names.metadata !== '') {
        await this.#options.bus.request(RoomInternal.updateParticipant, {
          ...{ room, identity: participant.identity },
          ...names,
        });
      }
      return true;
    } catch (error) {
      this.#logger.warn({ err: error }, 'WHIP participant not renamed');
      return false;
    }
  }

  /** Before the encoder has its answer, so that no report comes too early. */
  async #listen(): Promise<void> {
    const topic = this.#upstream.participantId;
    this.#handlers.push(
      await this.#options.bus.serve(
        IngressHandler.whipRTCConnectionNotify,
        (report) => {
          this.#onReport(report);
          return Promise.resolve({});
        },
        { topic },
      ),
    );
    this.#watch();
  }

  #watch(): void {
    clearTimeout(this.#reportTimer);
    this.#reportTimer = setTimeout(() => {
      void this.#finish(
        'no report',
        new ServiceError('unavailable', 'the room server does not report any more'),
      );
    }, REPORT_TIMEOUT_MS).unref();
  }

  #onReport(report: WHIPRTCConnectionNotifyRequest): void {
    if (this.#stopping) {
      return;
    }
    if (report.closed) {
      const failure = report.error === '' ? undefined : new ServiceError('aborted', report.error);
      void this.#finish('the connection ended', failure);
      return;
    }
    this.#watch();
    this.#silent = report.silent;
    this.#state.setRoom(this.#transcode === undefined ? report.roomId : this.#transcode.roomSid);
    const { video, audio } = report;
    this.#state.setInput(
      video && {
        mimeType: video.mimeType,
        width: video.width,
        height: video.height,
        framerate: video.framerate,
        bitsPerS: video.averageBitrate,
      },
      audio && {
        mimeType: audio.mimeType,
        channels: audio.channels,
        sampleRateHz: audio.sampleRate,
        bitsPerS: audio.averageBitrate,
      },
    );
    if (report.publishing && this.#transcode === undefined) {
      this.#onPublishing();
    }
    void this.#state.report();
  }

  #onPublishing(): void {
    this.#watchdog.clear();
    if (this.#state.status === 'buffering') {
      this.#logger.info('WHIP session publishes');
      this.#state.setStatus('publishing');
    }
  }

  #wire(transcode: WhipTranscode): void {
    transcode.events.on('published', () => {
      this.#onPublishing();
      this.#state.setRoom(transcode.roomSid);
      void this.#state.report();
    });
    transcode.events.on('failed', ({ error }) => {
      void this.#finish(messageOf(error), error);
    });
    transcode.events.on('disconnected', ({ reason }) => {
      this.#logger.info({ reason }, 'WHIP session removed from its room');
      void this.#finish(reason, new ServiceError('aborted', 'room disconnected'));
    });
  }

  /** The first cause counts; everybody who calls later waits for the same end. */
  async #finish(cause: string, failure?: Error): Promise<void> {
    if (!this.#stopping) {
      this.#stopping = true;
      this.#logger.info({ cause, err: failure }, 'WHIP session ends');
      await this.#upstream.end().catch((error: unknown) => {
        this.#logger.warn({ err: error }, 'the room server was not told about the end of a WHIP session');
      });
      await this.#transcode?.close(cause);
      this.#state.setStatus(failure === undefined ? 'inactive' : 'error', failure && messageOf(failure));
      await this.#state.report();
      await this.#release();
    }
    return this.ended;
  }

  async #release(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#reportTimer);
    this.#watchdog.clear();
    await this.#transcode?.close('session over');
    await Promise.allSettled(this.#handlers.map((unregister) => unregister()));
    this.#resolveEnded();
  }
}
