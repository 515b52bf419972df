import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from '../../../services/base/logger.ts';
import { framed, FrameReader } from '../../../services/protocol/rtp-framing.ts';
import { buildStunBinding, parseStunBinding } from '../../../services/protocol/stun.ts';
import type { PeerTransport, UdpMux } from '../../../services/sfu/media-types.ts';
import { IceTcpConnection } from '../../../services/sfu/transport/ice-tcp-connection.ts';
import { ICE_TCP_LIMITS, type IceTcpLimits } from '../../../services/sfu/transport/ice-tcp-limits.ts';
import { createUdpMux } from '../../../services/sfu/transport/udp-mux.ts';
import { seededRandom } from '../rtp/seeded-random.ts';

const logger = createLogger({ level: 'silent' });

describe('packets behind their lengths (RFC 4571)', () => {
  const noLimit = (): number => 65_535;

  it('come out whole however they are cut', () => {
    const random = seededRandom(4571);
    const packets = Array.from({ length: 60 }, (_, i) => Buffer.alloc(1 + Math.floor(random() * 1500), i));
    const stream = Buffer.concat(packets.map((packet) => framed(packet)));
    const reader = new FrameReader();
    const read: Buffer[] = [];
    for (let offset = 0; offset < stream.length;) {
      const end = offset + 1 + Math.floor(random() * (offset % 3 === 0 ? 3 : 4000));
      reader.push(stream.subarray(offset, end), noLimit, (packet) => read.push(Buffer.from(packet)));
      offset = end;
    }
    expect(read).toEqual(packets);
  });

  it('may be empty, which means nothing', () => {
    const read: Buffer[] = [];
    new FrameReader().push(Buffer.from([0, 0, 0, 0, 0, 1, 7]), noLimit, (packet) => read.push(packet));
    expect(read).toEqual([Buffer.from([7])]);
  });

  it('are refused by their length, before they are there', () => {
    const reader = new FrameReader();
    const read: Buffer[] = [];
    const text = Buffer.from('GET / HTTP/1.1\r\n');
    expect(() =>
      reader.push(
        text,
        () => 1280,
        (packet) => read.push(packet),
      ),
    ).toThrow('18245 bytes');
    expect(read).toEqual([]);
  });
});

describe('ICE over TCP', () => {
  let mux: UdpMux;
  const clients: TcpClient[] = [];
  beforeEach(() => openMux());
  afterEach(() => closeAll());

  async function openMux(limits: Partial<IceTcpLimits> = {}): Promise<void> {
    mux = await createUdpMux({
      port: 0,
      bindAddress: '127.0.0.1',
      advertiseAddresses: ['192.0.2.1', '192.0.2.2'],
      tcp: { port: 0, limits },
      logger,
    });
  }

  async function closeAll(): Promise<void> {
    for (const client of clients.splice(0)) {
      client.socket.destroy();
    }
    await mux.close();
  }

  async function reopen(limits: Partial<IceTcpLimits>): Promise<void> {
    await closeAll();
    await openMux(limits);
  }

  async function client(): Promise<TcpClient> {
    const opened = await TcpClient.open(mux.tcpPort);
    clients.push(opened);
    return opened;
  }

  it('is offered behind UDP, with a lower priority', () => {
    const { candidates } = mux.createTransport({ label: 'x' });
    expect(candidates).toEqual([
      `candidate:1 1 udp 2130706431 192.0.2.1 ${mux.port} typ host`,
      `candidate:2 1 udp 2130706175 192.0.2.2 ${mux.port} typ host`,
      `candidate:3 1 tcp 1520435199 192.0.2.1 ${mux.tcpPort} typ host tcptype passive`,
      `candidate:4 1 tcp 1520434943 192.0.2.2 ${mux.tcpPort} typ host tcptype passive`,
    ]);
  });

  it('answers a check with the right password, and no other', async () => {
    const transport = mux.createTransport({ label: 'x' });
    const tcp = await client();
    tcp.check({ ufrag: transport.localUfrag, pwd: 'wrong' }, 1);
    tcp.check({ ufrag: 'nobody', pwd: transport.localPwd }, 2);
    tcp.send(Buffer.from([22, 254, 253, 0, 0, 0, 0]));
    tcp.check(credentialsOf(transport), 3);
    const answer = parseStunBinding(await tcp.nextPacket());
    expect(answer?.transactionId[0]).toBe(3);
    expect(answer).toMatchObject({
      class: 'success',
      xorMappedAddress: { address: '127.0.0.1', port: tcp.socket.localPort },
    });
  });

  it('goes on over the next connection when one breaks', async () => {
    const transport = mux.createTransport({ label: 'x' });
    await transport.setRemote({ ufrag: 'abcd', fingerprint: '00', role: 'active' });
    const first = await client();
    first.check(credentialsOf(transport), 1);
    // The ClientHello shows where the peer is sent to.
    await first.packetThat((packet) => packet[0] === 22);
    await first.packetThat((packet) => parseStunBinding(packet)?.class === 'success');
    first.socket.destroy();
    const second = await client();
    second.check(credentialsOf(transport), 2);
    await second.packetThat((packet) => packet[0] === 22);
  });

  it('belongs to one participant: nobody else uses its connection', async () => {
    const mine = mux.createTransport({ label: 'mine' });
    const other = mux.createTransport({ label: 'other' });
    const tcp = await client();
    tcp.check(credentialsOf(mine), 1);
    await tcp.nextPacket();
    tcp.check(credentialsOf(other), 2);
    tcp.check(credentialsOf(mine), 3);
    expect(parseStunBinding(await tcp.nextPacket())?.transactionId[0]).toBe(3);
  });

  it('closes with its transport', async () => {
    const transport = mux.createTransport({ label: 'x' });
    const tcp = await client();
    tcp.check(credentialsOf(transport), 1);
    await tcp.nextPacket();
    await transport.close('test over');
    await tcp.closed;
  });

  it.each([
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['TLS', Buffer.from('16030102000100', 'hex')],
    ['a long first packet', Buffer.from('0501', 'hex')],
    [
      '20 packets that prove nothing',
      Buffer.concat(Array.from({ length: 20 }, () => framed(Buffer.from('x')))),
    ],
  ])('hangs up on %s', async (_what, bytes) => {
    const tcp = await client();
    tcp.socket.write(bytes);
    await tcp.closed;
  });

  it('hangs up on a packet above the limit, also when it is known who it is', async () => {
    const transport = mux.createTransport({ label: 'x' });
    const tcp = await client();
    tcp.check(credentialsOf(transport), 1);
    await tcp.nextPacket();
    tcp.socket.write(Buffer.from([0x10, 0x01]));
    await tcp.closed;
  });

  it('does not wait for a check for ever, nor for a peer that fell silent', async () => {
    await reopen({ authenticationTimeoutMs: 50 });
    await (
      await client()
    ).closed;
    await reopen({ idleTimeoutMs: 50 });
    const transport = mux.createTransport({ label: 'x' });
    const tcp = await client();
    tcp.check(credentialsOf(transport), 1);
    await tcp.nextPacket();
    await tcp.closed;
  });

  it.each([
    ['in all', { maxConnections: 2 }],
    ['from one address', { maxConnectionsPerAddress: 2 }],
    ['before the first check', { maxUnauthenticated: 2 }],
  ])('takes only so many connections %s', async (_what, limits) => {
    await reopen(limits);
    const open = [await client(), await client()];
    await (
      await client()
    ).closed;
    // One more may come for each that goes.
    open[0]?.socket.destroy();
    const transport = mux.createTransport({ label: 'x' });
    await expect
      .poll(
        async () => {
          const tcp = await client();
          tcp.check(credentialsOf(transport), 1);
          return Promise.race([tcp.nextPacket().then(() => true), tcp.closed.then(() => false)]);
        },
        { timeout: 15_000 },
      )
      .toBe(true);
  });

  it('keeps the connection in use when a peer opens ever more', async () => {
    await reopen({ maxConnectionsPerPeer: 2 });
    const transport = mux.createTransport({ label: 'x' });
    const open: TcpClient[] = [];
    for (let i = 0; i < 3; i += 1) {
      const tcp = await client();
      tcp.check(credentialsOf(transport), 1);
      await tcp.nextPacket();
      open.push(tcp);
    }
    await open[1]?.closed;
    open[0]?.check(credentialsOf(transport), 2);
    expect(parseStunBinding((await open[0]?.nextPacket()) ?? Buffer.alloc(0))?.class).toBe('success');
  });

  it('drops what a peer does not read instead of keeping it', async () => {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const reader = connect((server.address() as AddressInfo).port, '127.0.0.1');
    reader.pause();
    const [socket] = (await once(server, 'connection')) as [Socket];
    const connection = new IceTcpConnection({
      socket,
      limits: { ...ICE_TCP_LIMITS, maxBacklogBytes: 100_000 },
      logger,
      onPacket: () => undefined,
      onClosed: () => undefined,
    });
    const packet = Buffer.alloc(1200);
    for (let sent = 0; sent < 20_000; sent += 1) {
      connection.send(packet);
    }
    expect(socket.writableLength).toBeLessThan(102_000);
    expect(socket.writableLength).toBeGreaterThan(98_000);
    reader.destroy();
    connection.close('test over');
    server.close();
  });

  it('says which port is taken, and leaves no other open', async () => {
    const attempt = createUdpMux({
      port: 0,
      bindAddress: '127.0.0.1',
      advertiseAddresses: [],
      tcp: { port: mux.tcpPort },
      logger,
    });
    await expect(attempt).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('rtc.tcp_port') as string,
    });
  });
});

type Credentials = { ufrag: string; pwd: string };

function credentialsOf({ localUfrag, localPwd }: PeerTransport): Credentials {
  return { ufrag: localUfrag, pwd: localPwd };
}

class TcpClient {
  readonly socket: Socket;
  readonly closed: Promise<void>;
  readonly #reader = new FrameReader();
  readonly #packets: Buffer[] = [];
  #wake: () => void = () => undefined;

  static async open(port: number): Promise<TcpClient> {
    const socket = connect(port, '127.0.0.1');
    const client = new TcpClient(socket);
    await once(socket, 'connect');
    return client;
  }

  private constructor(socket: Socket) {
    this.socket = socket;
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()));
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      this.#reader.push(
        chunk,
        () => 65_535,
        (packet) => this.#packets.push(Buffer.from(packet)),
      );
      this.#wake();
    });
  }

  send(packet: Buffer): void {
    this.socket.write(framed(packet));
  }

  check(credentials: Credentials, id: number): void {
    this.socket.write(this.checkBytes(credentials, id));
  }

  checkBytes({ ufrag, pwd }: Credentials, id: number): Buffer {
    const options = {
      class: 'request',
      transactionId: Buffer.alloc(12, id),
      username: `${ufrag}:me`,
    } as const;
    return framed(buildStunBinding({ ...options, password: pwd }));
  }

  async packetThat(accept: (packet: Buffer) => boolean): Promise<void> {
    while (!accept(await this.nextPacket())) {
      // the next one
    }
  }

  async nextPacket(): Promise<Buffer> {
    for (;;) {
      const packet = this.#packets.shift();
      if (packet !== undefined) {
        return packet;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
