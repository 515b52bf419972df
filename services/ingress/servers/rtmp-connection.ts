import type { Socket } from 'node:net';
import { ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import {
  RTMP_MESSAGE,
  splitAggregate,
  USER_CONTROL,
  userControlMessage,
  type RtmpMessage,
} from '../../protocol/rtmp-message.ts';
import type { EncoderConnection, MediaSink, OnPublish } from './publisher-types.ts';
import { readConnect, serverCapabilities, type ConnectRequest } from './rtmp-capabilities.ts';
import {
  callResult,
  connectResult,
  onFcPublish,
  onStatus,
  parseCommand,
  parseMetadata,
  reconnectRequest,
  streamKeyOf,
  type RtmpCommand,
  type StatusCode,
} from './rtmp-commands.ts';
import { RtmpDeadline } from './rtmp-deadline.ts';
import type { RtmpLimits } from './rtmp-limits.ts';
import { RtmpWire } from './rtmp-wire.ts';

export type RtmpConnectionOptions = {
  socket: Socket;
  remoteAddress: string;
  limits: RtmpLimits;
  logger: Logger;
  onPublish: OnPublish;
  /** A stream key that did not open anything: counted against guessing. */
  onWrongKey: () => void;
};

/** `authorizing`: publish was asked for, the answer is not known yet; reading stops meanwhile. */
type Phase =
  | { name: 'handshake' }
  | { name: 'idle' }
  | { name: 'connected' }
  | { name: 'authorizing'; held: RtmpMessage[] }
  | { name: 'publishing'; sink: MediaSink }
  | { name: 'closed' };

/** The one message stream a connection gets; answering every createStream with it makes a flood pointless. */
const MESSAGE_STREAM_ID = 1;
const MAX_HELD_MESSAGES = 64;
/** Above the limit, what an encoder that pings once in a while may send for ever. */
const COMMANDS_PER_MINUTE = 30;

/** One RTMP peer from its first byte to its end: connect → createStream → publish. It never throws outwards. */
export class RtmpConnection implements EncoderConnection {
  readonly #options: RtmpConnectionOptions;
  readonly #wire: RtmpWire;
  #phase: Phase = { name: 'handshake' };
  readonly #deadline: RtmpDeadline;
  readonly #openedMs = performance.now();
  #commands = 0;
  #connect: ConnectRequest = { app: '', enhanced: false, reconnect: false };

  constructor(options: RtmpConnectionOptions) {
    this.#options = options;
    const { limits, logger } = options;
    this.#wire = new RtmpWire(options.socket, limits, logger, {
      onHandshaken: () => {
        this.#phase = { name: 'idle' };
        this.#deadline.expectWithin(limits.publishTimeoutMs, 'nothing published in time');
      },
      onMessage: (message) => {
        this.#onMessage(message);
      },
      onViolation: (error) => {
        logger.info({ err: error }, 'rtmp peer broke the protocol');
        this.#refuse('NetStream.Publish.Failed', error.message, error);
      },
      onDisconnected: () => {
        this.#close('encoder disconnected', undefined, true);
      },
    });
    this.#deadline = new RtmpDeadline((cause) => {
      logger.info({ cause }, 'rtmp connection timed out');
      this.drop(cause);
    });
    this.#deadline.expectWithin(limits.handshakeTimeoutMs, 'handshake not finished in time');
  }

  /** Asks an encoder that understands it to connect again; it goes on until it does. False = it would not understand. */
  requestReconnect(description: string): boolean {
    if (!this.#connect.reconnect || this.#phase.name !== 'publishing') {
      return false;
    }
    this.#wire.guard(() => {
      this.#wire.send(reconnectRequest(description));
    });
    return true;
  }

  drop(cause: string): void {
    this.#refuse('NetStream.Publish.Failed', cause);
  }

  #onMessage(message: RtmpMessage): void {
    if (this.#phase.name === 'authorizing') {
      if (this.#phase.held.push(message) > MAX_HELD_MESSAGES) {
        throw new ServiceError('resource_exhausted', 'RTMP: too much sent before publish was answered');
      }
      return;
    }
    switch (message.typeId) {
      case RTMP_MESSAGE.commandAmf0:
      case RTMP_MESSAGE.commandAmf3:
        this.#onCommand(message);
        return;
      case RTMP_MESSAGE.windowAcknowledgementSize:
        if (message.payload.length >= 4) {
          this.#wire.setAckWindow(message.payload.readUInt32BE(0));
        }
        return;
      case RTMP_MESSAGE.userControl:
        this.#onUserControl(message.payload);
        return;
      case RTMP_MESSAGE.aggregate:
        splitAggregate(message).forEach((inner) => {
          this.#onMedia(inner);
        });
        return;
      default:
        this.#onMedia(message);
    }
  }

  #onMedia(message: RtmpMessage): void {
    const { typeId, timestampMs, payload } = message;
    const isMedia = typeId === RTMP_MESSAGE.audio || typeId === RTMP_MESSAGE.video;
    if (this.#phase.name !== 'publishing') {
      if (isMedia && this.#phase.name !== 'closed') {
        throw new ServiceError('failed_precondition', 'RTMP: media before publish');
      }
      return;
    }
    const { sink } = this.#phase;
    if (isMedia) {
      this.#deadline.sawMedia();
      sink[typeId === RTMP_MESSAGE.audio ? 'audio' : 'video'](timestampMs, payload);
    } else if (typeId === RTMP_MESSAGE.dataAmf0 || typeId === RTMP_MESSAGE.dataAmf3) {
      const metadata = parseMetadata(message, this.#options.limits.maxCommandBytes);
      if (metadata !== undefined) {
        sink.metadata(metadata);
      }
    }
  }

  #onUserControl(payload: Buffer): void {
    if (payload.length >= 6 && payload.readUInt16BE(0) === USER_CONTROL.pingRequest) {
      this.#countCommand();
      this.#wire.send(userControlMessage(USER_CONTROL.pingResponse, payload.readUInt32BE(2)));
    }
  }

  #onCommand(message: RtmpMessage): void {
    this.#countCommand();
    const command = parseCommand(message, this.#options.limits.maxCommandBytes);
    switch (command.name) {
      case 'connect':
        this.#onConnect(command);
        return;
      case 'releaseStream':
        this.#wire.send(callResult(command.transactionId));
        return;
      case 'FCPublish':
        this.#wire.send(callResult(command.transactionId));
        this.#wire.send(onFcPublish());
        return;
      case 'createStream':
        this.#requireConnected();
        this.#wire.send(callResult(command.transactionId, MESSAGE_STREAM_ID));
        return;
      case 'publish':
        this.#onPublish(command);
        return;
      case 'play':
      case 'play2':
        this.#refuse('NetStream.Play.Failed', 'this server only accepts publishers');
        return;
      case 'FCUnpublish':
      case 'closeStream':
      case 'deleteStream':
        if (this.#phase.name === 'publishing') {
          this.#wire.send(onStatus(MESSAGE_STREAM_ID, 'NetStream.Unpublish.Success', 'Stream ended.'));
          this.#close('encoder stopped the stream');
        }
        return;
      default:
        return; // getStreamLength, _checkbw, onFI…: nothing to answer
    }
  }

  /** Commands and pings cost more than the bytes they take, so their number is limited. */
  #countCommand(): void {
    this.#commands++;
    const regained = ((performance.now() - this.#openedMs) / 60_000) * COMMANDS_PER_MINUTE;
    if (this.#commands > this.#options.limits.maxCommands + regained) {
      throw new ServiceError('resource_exhausted', 'RTMP: too many commands');
    }
  }

  #requireConnected(): void {
    if (this.#phase.name !== 'connected') {
      throw new ServiceError('failed_precondition', 'RTMP: command before connect or after publish');
    }
  }

  #onConnect(command: RtmpCommand): void {
    if (this.#phase.name !== 'idle') {
      throw new ServiceError('failed_precondition', 'RTMP: connect twice');
    }
    this.#phase = { name: 'connected' };
    this.#connect = readConnect(command.args[0]);
    this.#wire.announce();
    this.#wire.send(connectResult(command.transactionId, serverCapabilities(this.#connect)));
  }

  #onPublish(command: RtmpCommand): void {
    this.#requireConnected();
    const name = command.args[1];
    const { limits } = this.#options;
    const valid = typeof name === 'string' && Buffer.byteLength(name) <= limits.maxPublishNameBytes;
    const phase: Phase = { name: 'authorizing', held: [] };
    this.#phase = phase;
    this.#wire.hold(true);
    this.#deadline.clear();
    void this.#authorize(valid ? streamKeyOf(name, this.#connect.app) : '', phase.held);
  }

  async #authorize(streamKey: string, held: RtmpMessage[]): Promise<void> {
    const { limits, onPublish, remoteAddress } = this.#options;
    const startedMs = Date.now();
    try {
      const sink = await onPublish({ streamKey, remoteAddress }, this);
      if (this.#phase.name !== 'authorizing') {
        sink.end('encoder disconnected');
        return;
      }
      this.#startPublishing(sink, held);
    } catch (error) {
      const failure = ServiceError.from(error, 'unavailable');
      const taken = failure.code === 'already_exists';
      if (failure.code === 'not_found') {
        this.#options.onWrongKey();
      }
      const waitMs = Math.max(0, limits.refusalDelayMs - (Date.now() - startedMs));
      const code = taken ? 'NetStream.Publish.BadName' : 'NetStream.Publish.Failed';
      this.#deadline.postpone(waitMs, () => {
        this.#refuse(code, failure.message);
      });
    }
  }

  #startPublishing(sink: MediaSink, held: readonly RtmpMessage[]): void {
    this.#phase = { name: 'publishing', sink };
    this.#wire.trust();
    this.#deadline.expectMedia(this.#options.limits.mediaTimeoutMs);
    this.#wire.guard(() => {
      this.#wire.send(userControlMessage(USER_CONTROL.streamBegin, MESSAGE_STREAM_ID));
      this.#wire.send(onStatus(MESSAGE_STREAM_ID, 'NetStream.Publish.Start', 'Publishing.'));
      held.forEach((message) => {
        this.#onMessage(message);
      });
    });
    this.#wire.hold(false);
  }

  #refuse(code: StatusCode, description: string, failure?: Error): void {
    try {
      this.#wire.send(onStatus(MESSAGE_STREAM_ID, code, description));
    } catch (error) {
      this.#options.logger.debug({ err: error }, 'refusal not sent');
    }
    this.#close(description, failure ?? new ServiceError('aborted', description));
  }

  #close(cause: string, failure?: Error, lost = false): void {
    const phase = this.#phase;
    if (phase.name === 'closed') {
      return;
    }
    this.#phase = { name: 'closed' };
    this.#deadline.clear();
    this.#wire.close();
    if (phase.name !== 'publishing') {
      return;
    }
    if (lost && phase.sink.lost !== undefined) {
      phase.sink.lost(cause);
    } else {
      phase.sink.end(cause, failure);
    }
  }
}
