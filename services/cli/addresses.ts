import { networkInterfaces } from 'node:os';
import type { Config } from '../base/config/schema.ts';

const ANY = new Set(['0.0.0.0', '::']);

/** True when every listener stays on this machine. */
export function isLoopbackOnly(bindAddresses: readonly string[]): boolean {
  return bindAddresses.every((address) => address === '::1' || address.startsWith('127.'));
}

/** IPv4 addresses offered to WebRTC clients as ICE candidates, the most useful one first. */
export function advertisedAddresses(config: Config): string[] {
  const { node_ip: nodeIp, advertise_internal_ip: alsoInternal } = config.rtc;
  if (nodeIp !== undefined && !alsoInternal) {
    return [nodeIp];
  }
  const own = Object.values(networkInterfaces())
    .flatMap((entries) => entries ?? [])
    .filter((entry) => entry.family === 'IPv4')
    .sort((a, b) => Number(a.internal) - Number(b.internal))
    .map((entry) => entry.address);
  const bound = config.bind_addresses.some((address) => ANY.has(address))
    ? own
    : own.filter((address) => config.bind_addresses.includes(address));
  const offered = bound.length > 0 ? bound : ['127.0.0.1'];
  return nodeIp === undefined ? offered : [...new Set([nodeIp, ...offered])];
}

/** The IPv4 address the media socket and the RTMP listener bind to: one of ours, or all. */
export function mediaBindAddress(config: Config): string {
  const ipv4 = config.bind_addresses.filter((address) => !address.includes(':'));
  return ipv4.length === 1 && ipv4[0] !== undefined ? ipv4[0] : ipv4.length === 0 ? '127.0.0.1' : '0.0.0.0';
}

/** The name people type: localhost while we stay on this machine, else the first reachable address. */
export function publicHost(config: Config): string {
  return isLoopbackOnly(config.bind_addresses)
    ? 'localhost'
    : (advertisedAddresses(config)[0] ?? 'localhost');
}

/** The host part under which this process reaches its own HTTP port. */
export function selfHost(config: Config): string {
  const [address = '127.0.0.1'] = config.bind_addresses;
  if (ANY.has(address)) {
    return address === '::' ? '[::1]' : '127.0.0.1';
  }
  return address.includes(':') ? `[${address}]` : address;
}
