import { createSocket, type Socket } from 'node:dgram';
import { ServiceError } from '../../base/errors.ts';

/** Where ffmpeg is to listen. The port was free a moment ago: nothing else tells ffmpeg's choice. */
export async function freeLoopbackPort(): Promise<number> {
  const socket = createSocket('udp4');
  try {
    await bound(socket);
    return socket.address().port;
  } finally {
    await new Promise<void>((resolve) => socket.close(() => resolve()));
  }
}

/** @param passphrase '' = nothing is encrypted. @returns options of ffmpeg, ending with the address. */
export function listenerArgs(port: number, passphrase: string, openTimeoutMs: number): string[] {
  return [
    ...['-protocol_whitelist', 'srt', '-mode', 'listener', '-transtype', 'live'],
    ...['-listen_timeout', String(openTimeoutMs * 1000)],
    ...(passphrase === '' ? [] : ['-passphrase', passphrase]),
    ...['-f', 'mpegts', '-i', `srt://127.0.0.1:${port}`],
  ];
}

/** A socket that hears of one port of this machine only. @throws ServiceError unavailable */
export async function openLoopback(port: number, onDatagram: (datagram: Buffer) => void): Promise<Socket> {
  const socket = createSocket('udp4');
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.connect(port, '127.0.0.1', () => resolve());
    });
  } catch (cause) {
    socket.close();
    throw new ServiceError('unavailable', 'SRT: no port to talk to ffmpeg from', { cause });
  }
  // Nobody listens yet, or not any more: the kernel says so for every datagram that is sent.
  socket.removeAllListeners('error').on('error', () => undefined);
  socket.on('message', onDatagram);
  return socket;
}

function bound(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.bind(0, '127.0.0.1', () => resolve());
  });
}
