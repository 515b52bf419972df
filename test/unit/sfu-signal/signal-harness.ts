/* eslint-disable @typescript-eslint/no-deprecated -- clients in the field still read and write these fields */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  AddTrackRequest,
  ConnectionSettings,
  JoinRequest,
  SessionDescription,
  SignalRequest,
  SignalResponse,
} from '@livekit/protocol';
import { WebSocket } from 'ws';
import { createLogger } from '../../../services/base/logger.ts';
import { MemoryBus } from '../../../services/bus/memory-bus.ts';
import type { VideoGrant } from '../../../services/model/grants.ts';
import { ROOM_DEFAULTS } from '../../../services/model/room.ts';
import { encodeJoinRequest, type SignalRequestMessage } from '../../../services/protocol/signal.ts';
import { mintToken, type MintOptions } from '../../../services/protocol/token.ts';
import { RoomRegistry, type RoomDefaults } from '../../../services/sfu/room-registry.ts';
import { serveRoomRpc } from '../../../services/sfu/room-rpc.ts';
import { tokenIssuer } from '../../../services/sfu/token-refresh.ts';
import { SignalServer, type SignalServerLimits } from '../../../services/sfu/signal-server.ts';
import { FakeTransport } from './fake-media.ts';

export const KEY = 'testkey';
export const SECRET = 'a-test-secret-that-is-long-enough-for-hs256';

type ResponseCase = NonNullable<SignalResponse['message']['case']>;
type ResponseValue<Case extends ResponseCase> = Extract<SignalResponse['message'], { case: Case }>['value'];

export type JoinOptions = {
  video?: VideoGrant;
  token?: Omit<MintOptions, 'video'>;
  join?: ConstructorParameters<typeof JoinRequest>[0];
  autoSubscribe?: boolean;
  /** More parameters of the signalling URL, e.g. `&a=b`. */
  query?: string;
};

/** Signalling for real (HTTP, WebSocket, protobuf), media by fakes. */
export class SignalHarness {
  readonly bus = new MemoryBus();
  readonly rooms: RoomRegistry;
  readonly transports = new Map<string, FakeTransport>();
  /** What the clients' transports were told about batches. */
  readonly batchMs = new Map<string, number>();
  readonly #signal: SignalServer;
  readonly #server: Server;
  readonly #clients: SignalClient[] = [];
  baseUrl = '';

  constructor(options: { defaults?: Partial<RoomDefaults>; limits?: SignalServerLimits } = {}) {
    const logger = createLogger({ level: 'silent' });
    this.rooms = new RoomRegistry({
      nodeId: 'ND_test',
      logger,
      defaults: { autoCreate: true, ...ROOM_DEFAULTS, ...options.defaults },
      createTransport: ({ label, batchMs = 0 }) => {
        const transport = new FakeTransport();
        this.transports.set(label, transport);
        this.batchMs.set(label, batchMs);
        return transport;
      },
      issueToken: tokenIssuer(new Map([[KEY, SECRET]])),
    });
    this.#signal = new SignalServer({
      rooms: this.rooms,
      keys: new Map([[KEY, SECRET]]),
      logger,
      ...(options.limits === undefined ? {} : { limits: options.limits }),
    });
    this.#server = createServer((req, res) => {
      if (!this.#signal.handleRequest(req, res)) {
        res.writeHead(404).end();
      }
    });
    this.#server.on('upgrade', (req, socket, head: Buffer) => {
      if (!this.#signal.handleUpgrade(req, socket, head)) {
        socket.end('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n');
      }
    });
  }

  async start(): Promise<this> {
    await serveRoomRpc({ bus: this.bus, rooms: this.rooms, enableRemoteUnmute: false });
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.baseUrl = `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    return this;
  }

  token(identity: string, options: JoinOptions = {}): Promise<string> {
    return mintToken(KEY, SECRET, {
      identity,
      ...options.token,
      video: { roomJoin: true, room: 'room', ...options.video },
    });
  }

  /** Opens a connection without waiting for anything but the upgrade. */
  async open(identity: string, options: JoinOptions = {}): Promise<SignalClient> {
    const join = new JoinRequest({
      connectionSettings: new ConnectionSettings({ autoSubscribe: options.autoSubscribe ?? true }),
      ...options.join,
    });
    const token = await this.token(identity, options);
    const url = `ws://${this.baseUrl}/rtc/v1?access_token=${token}&join_request=${encodeJoinRequest(join)}${options.query ?? ''}`;
    const client = new SignalClient(this, url);
    this.#clients.push(client);
    await client.opened();
    return client;
  }

  /** Joins and waits for `join`. */
  async join(identity: string, options: JoinOptions = {}): Promise<SignalClient> {
    const client = await this.open(identity, options);
    await client.next('join');
    return client;
  }

  async close(): Promise<void> {
    for (const client of this.#clients) {
      client.socket.terminate();
    }
    this.rooms.close();
    this.#signal.close('test over');
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** A scripted client: sends requests, keeps responses until somebody asks for them. */
export class SignalClient {
  readonly socket: WebSocket;
  readonly #harness: SignalHarness;
  readonly #received: SignalResponse['message'][] = [];
  readonly #wakeUps = new Set<() => void>();
  #offerId = 0;
  sid = '';
  closed = false;

  constructor(harness: SignalHarness, url: string) {
    this.#harness = harness;
    this.socket = new WebSocket(url);
    this.socket.on('message', (data: Buffer) => {
      const { message } = SignalResponse.fromBinary(data);
      if (message.case === 'join') {
        this.sid = message.value.participant?.sid ?? '';
      }
      this.#received.push(message);
      this.#wake();
    });
    this.socket.on('close', () => {
      this.closed = true;
      this.#wake();
    });
    this.socket.on('error', () => undefined);
  }

  opened(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.socket.once('open', () => {
        resolve();
      });
      this.socket.once('error', reject);
    });
  }

  get transport(): FakeTransport {
    const transport = this.#harness.transports.get(this.sid);
    if (transport === undefined) {
      throw new Error('not joined');
    }
    return transport;
  }

  send(message: SignalRequestMessage): void {
    this.socket.send(new SignalRequest({ message }).toBinary());
  }

  /** Takes the next response of this case (that `accept` likes); others stay. */
  async next<Case extends ResponseCase>(
    wanted: Case,
    accept: (value: ResponseValue<Case>) => boolean = () => true,
  ): Promise<ResponseValue<Case>> {
    const deadlineMs = Date.now() + 15_000;
    for (;;) {
      const index = this.#received.findIndex(
        (message) => message.case === wanted && accept(message.value as ResponseValue<Case>),
      );
      if (index >= 0) {
        return this.#received.splice(index, 1)[0]?.value as ResponseValue<Case>;
      }
      if (this.closed || Date.now() > deadlineMs) {
        const seen = this.#received.map((message) => message.case).join(', ');
        throw new Error(`no ${wanted}${this.closed ? ' (socket closed)' : ''}; waiting: ${seen}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 200);
        this.#wakeUps.add(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  /** Everything of one case that has arrived and was not taken. */
  waiting<Case extends ResponseCase>(wanted: Case): ResponseValue<Case>[] {
    return this.#received
      .filter((message) => message.case === wanted)
      .map((message) => message.value as ResponseValue<Case>);
  }

  /** Round trip: everything sent before was handled. */
  async settled(): Promise<void> {
    this.send({ case: 'ping', value: 1n });
    await this.next('pong');
  }

  async offer(sdp: string): Promise<ResponseValue<'answer'>> {
    this.#offerId += 1;
    const id = this.#offerId;
    this.send({ case: 'offer', value: new SessionDescription({ type: 'offer', sdp, id }) });
    return this.next('answer', (answer) => answer.id === id);
  }

  async addTrack(
    request: ConstructorParameters<typeof AddTrackRequest>[0],
  ): Promise<ResponseValue<'trackPublished'>> {
    this.send({ case: 'addTrack', value: new AddTrackRequest(request) });
    return this.next('trackPublished', ({ cid }) => cid === request?.cid);
  }

  async whenClosed(): Promise<void> {
    while (!this.closed) {
      await new Promise<void>((resolve) => this.#wakeUps.add(resolve));
    }
  }

  #wake(): void {
    for (const wakeUp of this.#wakeUps) {
      wakeUp();
    }
    this.#wakeUps.clear();
  }
}
