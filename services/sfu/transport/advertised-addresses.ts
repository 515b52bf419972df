import { networkInterfaces } from 'node:os';
import type { UdpFamily } from './peer-socket.ts';

/** Addresses clients are told: the configured ones, else the bind address, else this machine's own. */
export function advertisedAddresses(
  options: { bindAddress: string; advertiseAddresses: readonly string[] },
  family: UdpFamily,
): readonly string[] {
  if (options.advertiseAddresses.length > 0) {
    return options.advertiseAddresses;
  }
  if (options.bindAddress !== '0.0.0.0' && options.bindAddress !== '::') {
    return [options.bindAddress];
  }
  const own = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ address }) => !address.startsWith('fe80:'))
    .filter(({ family: ip }) => ip === 'IPv4' || family === 'udp6');
  // A machine without a network still serves clients on itself.
  return [...own.filter(({ internal }) => !internal), ...own.filter(({ internal }) => internal)].map(
    ({ address }) => address,
  );
}
