import { EgressInfo } from '@livekit/protocol';
import { describe, expect, it } from 'vitest';
import { HTTP_STATUS_BY_CODE, type ErrorCode } from '../../../services/base/errors.ts';
import {
  claimChannel,
  grantChannel,
  requestChannel,
  responseChannel,
} from '../../../services/bus/psrpc-channels.ts';
import { errorFromResponse, fromPsrpcCode, toPsrpcCode } from '../../../services/bus/psrpc-errors.ts';
import { ClaimResponse, decodeFrame, encodeFrame, Msg, Request } from '../../../services/bus/psrpc-frames.ts';
import { readRedisConfig } from '../../../services/bus/redis-options.ts';
import { EgressHandler, EgressInternal, IngressHandler, IOInfo } from '../../../services/bus/rpc-methods.ts';

describe('psrpc channels', () => {
  it('are the strings LiveKit uses', () => {
    expect(requestChannel(EgressInternal.startEgress)).toBe('EgressInternal|StartEgress|REQ');
    expect(grantChannel(EgressInternal.startEgress)).toBe('EgressInternal|StartEgress|RCLAIM');
    expect(requestChannel(EgressHandler.stopEgress, 'EG_1')).toBe('EgressHandler|StopEgress|EG_1|REQ');
    expect(claimChannel('IOInfo', 'CLI_x')).toBe('IOInfo|CLI_x|CLAIM');
    expect(responseChannel('IOInfo', 'CLI_x')).toBe('IOInfo|CLI_x|RES');
    expect(requestChannel(IOInfo.updateMetrics)).toBe('IOInfo|UpdateMetrics|REQ');
    expect(requestChannel(IngressHandler.whipRTCConnectionNotify, 'PA_1')).toBe(
      'IngressHandler|WHIPRTCConnectionNotify|PA_1|REQ',
    );
  });

  it('escape what a channel name cannot hold', () => {
    expect(requestChannel(EgressHandler.stopEgress, 'a|b-ü\u{1F3A5}')).toBe(
      'EgressHandler|StopEgress|au+007cbu+002du+00fcU+0001f3a5|REQ',
    );
  });
});

describe('psrpc frames', () => {
  it('are Any messages that name their type', () => {
    const bytes = encodeFrame(new ClaimResponse({ requestId: 'REQ_1', serverId: 'SRV_1' }));
    expect(Buffer.from(bytes).toString('latin1')).toBe(
      '\n*type.googleapis.com/internal.ClaimResponse\x12\x0e\n\x05REQ_1\x12\x05SRV_1',
    );
    expect(decodeFrame(ClaimResponse, bytes).serverId).toBe('SRV_1');
  });

  it.each([
    ['random bytes', Buffer.from('\xff\xff\xff\xff garbage', 'latin1')],
    ['another message', encodeFrame(new EgressInfo())],
    ['a truncated frame', encodeFrame(new Request({ requestId: 'REQ_1' })).slice(0, -3)],
    [
      'garbage inside',
      new Msg({ typeUrl: 'x/internal.Request', value: Buffer.from('\xff', 'latin1') }).toBinary(),
    ],
    ['nothing', new Uint8Array()],
  ])('refuse %s', (_name, bytes) => {
    expect(() => decodeFrame(Request, bytes)).toThrow();
  });
});

describe('psrpc errors', () => {
  it('carry every code of ours there and back', () => {
    for (const code of Object.keys(HTTP_STATUS_BY_CODE) as ErrorCode[]) {
      expect(fromPsrpcCode(toPsrpcCode(code))).toBe(code === 'bad_route' ? 'unimplemented' : code);
    }
  });

  it.each([
    ['not_acceptable', 'invalid_argument'],
    ['upstream_server_error', 'internal'],
    ['malformed_result', 'malformed'],
    ['', 'unknown'],
    ['constructor', 'unknown'],
  ])('of psrpc alone: "%s" becomes %s', (theirs, ours) => {
    expect(errorFromResponse({ error: 'text', code: theirs })).toMatchObject({ code: ours, message: 'text' });
  });
});

describe('redis configuration', () => {
  it.each([
    ['10.0.0.1:7000', { host: '10.0.0.1', port: 7000 }, '10.0.0.1:7000'],
    ['redis.local', { host: 'redis.local', port: 6379 }, 'redis.local:6379'],
    ['[::1]:7000', { host: '::1', port: 7000 }, '[::1]:7000'],
    ['/run/redis.sock', { path: '/run/redis.sock' }, '/run/redis.sock'],
  ])('reads the address %s', (address, options, label) => {
    const target = readRedisConfig({ address, username: 'u', password: 'hidden', db: 3 });
    expect(target.options).toMatchObject({ ...options, username: 'u', password: 'hidden', db: 3 });
    expect(target.label).toBe(label);
  });

  it('reads sentinels, with passwords of their own', () => {
    const target = readRedisConfig({
      sentinel_master_name: 'main',
      sentinel_addresses: ['s1:26380', 's2'],
      sentinel_password: 'hidden',
      use_tls: true,
    });
    expect(target.options).toMatchObject({
      name: 'main',
      sentinels: [
        { host: 's1', port: 26380 },
        { host: 's2', port: 26379 },
      ],
      sentinelPassword: 'hidden',
      enableTLSForSentinelMode: true,
    });
    expect(target.label).toBe('main (sentinels s1:26380, s2:26379)');
  });

  it.each([
    [{ address: 'redis://user:hidden@host' }, 'redis.address must be host:port'],
    [{ address: 'host:99999' }, 'redis.address must be host:port'],
    [{}, 'redis.address must be host:port'],
    [{ address: 'host', db: -1 }, 'redis.db must be'],
    [{ sentinel_addresses: ['host'] }, 'redis.sentinel_master_name is needed'],
    [{ cluster_addresses: ['host:1'] }, 'redis.cluster_addresses is not supported'],
    [
      { address: 'host', tls: { enabled: true, ca_cert_file: '/nowhere' } },
      'redis.tls.ca_cert_file cannot be read',
    ],
  ])('refuses %o, naming the key and no secret', (config, text) => {
    expect(() => readRedisConfig(config)).toThrow(text);
    expect(() => readRedisConfig(config)).not.toThrow('hidden');
  });
});
