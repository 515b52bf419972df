import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { ChunkReader } from '../../services/protocol/rtmp-chunk.ts';
import { RTMP_MESSAGE } from '../../services/protocol/rtmp-message.ts';

const HANDSHAKE_BYTES = 1 + 2 * 1536;
const UNLIMITED = { maxMessageBytes: 1e9, maxBufferedBytes: 1e9, maxChunkStreams: 1e6, maxTrustedBytes: 0 };
/** FLV's AVCPacketType; 0 is a configuration. */
const PICTURE = 1;

/** Stands between an encoder and an RTMP server, reads at once, and tells of each picture that is complete. */
export class RtmpTap {
  readonly port: number;
  readonly #server: Server;
  readonly #sockets: ReadonlySet<Socket>;

  /** @param onPicture gets the encoder's own time. */
  static async start(targetPort: number, onPicture: (timestampMs: number) => void): Promise<RtmpTap> {
    const sockets = new Set<Socket>();
    const server = createServer((client) => {
      const target = connect(targetPort, '127.0.0.1');
      for (const socket of [client, target]) {
        sockets.add(socket);
        socket.setNoDelay(true);
        socket.on('error', () => undefined);
        socket.once('close', () => {
          sockets.delete(socket);
          client.destroy();
          target.destroy();
        });
      }
      target.pipe(client);
      const reader = new ChunkReader(UNLIMITED);
      let handshakeLeft = HANDSHAKE_BYTES;
      client.on('data', (data) => {
        target.write(data);
        const skipped = Math.min(handshakeLeft, data.length);
        handshakeLeft -= skipped;
        reader.push(data.subarray(skipped), ({ typeId, timestampMs, payload }) => {
          if (typeId === RTMP_MESSAGE.video && payload[1] === PICTURE) {
            onPicture(timestampMs);
          }
        });
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new RtmpTap(server, sockets);
  }

  private constructor(server: Server, sockets: ReadonlySet<Socket>) {
    this.port = (server.address() as AddressInfo).port;
    this.#server = server;
    this.#sockets = sockets;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) {
      socket.destroy();
    }
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
