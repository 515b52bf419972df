import { z } from 'zod';
import { port, seconds } from './fields.ts';

const printable = z.string().regex(/^[\x21-\x7e]*$/, 'printable ASCII without spaces');
const hostName = z.string().regex(/^[\w.-]+$|^\[[\da-f:]+\]$/i, 'a host name or address');

const turnServerSchema = z.strictObject({
  host: hostName,
  port: z.int().min(1).max(65_535).default(3478),
  protocol: z.enum(['udp', 'tcp', 'tls']).default('udp'),
  username: printable.default(''),
  credential: printable.default(''),
  secret: z.string().default(''),
  ttl: seconds.default(14_400),
});

export const rtcSchema = z.strictObject({
  udp_port: port
    .default(7882)
    .describe('UDP port that carries the media of all participants (0 = any free port).'),
  tcp_port: port
    .default(7881)
    .describe(
      'TCP port that carries media where a network lets no UDP through (ICE over TCP; not behind TLS or a load balancer). 0 = off.',
    ),
  stun_servers: z
    .array(z.string().regex(/^([\w.-]+|\[[\da-f:]+\]):\d{1,5}$/i, 'host:port'))
    .max(8)
    .default([])
    .describe(
      'STUN servers that clients and WHIP encoders are told, as host:port. None are needed to reach us.',
    )
    .meta({ example: ['stun.example.com:3478'] }),
  turn_servers: z
    .array(turnServerSchema)
    .max(8)
    .default([])
    .describe(
      'TURN servers that clients and WHIP encoders are told: protocol udp, tcp or tls; username and credential, or the secret shared with the server (ttl: seconds).',
    )
    .meta({
      example: [{ host: 'turn.example.com', port: 3478, protocol: 'udp', secret: 'shared-with-coturn' }],
    }),
  node_ip: z
    .ipv4()
    .optional()
    .describe(
      'IPv4 address offered to clients as ICE candidate. Default: every address of this machine that matches bind_addresses.',
    )
    .meta({ example: '203.0.113.7' }),
  advertise_internal_ip: z
    .boolean()
    .default(false)
    .describe(
      'With node_ip: also offer the addresses of this machine, for workers in the same private network.',
    ),
});
