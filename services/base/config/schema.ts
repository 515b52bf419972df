import { z } from 'zod';
import { egressSchema } from './sections/egress.ts';
import { port } from './sections/fields.ts';
import { ingressSchema } from './sections/ingress.ts';
import { redisSchema } from './sections/redis.ts';
import { roomSchema } from './sections/room.ts';
import { rtcSchema } from './sections/rtc.ts';
import { webhookSchema } from './sections/webhook.ts';

/**
 * The one description of the configuration file. Key names are LiveKit's wherever LiveKit has the key
 * (server: top level, rtc, room; its ingress and egress services: below `ingress` and `egress`).
 * docker/config.sample.yaml is generated from the descriptions and defaults below.
 */
export const configSchema = z.strictObject({
  port: port
    .default(7880)
    .describe('TCP port for HTTP and WebSocket: API, signalling and the first page (0 = any free port).'),
  bind_addresses: z
    .array(z.union([z.ipv4(), z.ipv6()]))
    .max(8)
    .default([])
    .describe('Addresses to listen on. Empty = 127.0.0.1 with the development keys, else 0.0.0.0.'),
  keys: z
    .record(z.string().min(1), z.string().min(1))
    .default({})
    .describe(
      'API key: API secret. Empty = the public development keys devkey/secret, for this machine only.',
    )
    .meta({ example: { APIxxxxxxxxxxxx: 'at-least-32-characters-of-randomness' } }),
  api_key: z
    .string()
    .min(1)
    .optional()
    .describe('With api_secret: one more of "keys", as LiveKit writes it for ingress and egress.')
    .meta({ example: 'APIxxxxxxxxxxxx' }),
  api_secret: z
    .string()
    .min(1)
    .optional()
    .describe('See api_key.')
    .meta({ example: 'at-least-32-characters-of-randomness' }),
  recordings_dir: z
    .string()
    .min(1)
    .default('./recordings')
    .describe('Folder for recordings; relative file paths of requests start here.'),
  logging: z
    .strictObject({
      level: z
        .enum(['debug', 'info', 'warn', 'error'])
        .default('info')
        .describe('debug, info, warn or error.'),
    })
    .prefault({})
    .describe('Logs go to standard error, one JSON object a line.'),
  rtc: rtcSchema.prefault({}).describe('WebRTC transport.'),
  room: roomSchema.prefault({}).describe('Defaults of new rooms.'),
  redis: redisSchema
    .optional()
    .describe(
      'Joins several processes ("serve server", "serve ingress", "serve egress"). Default: none, one process.',
    ),
  ws_url: z
    .url({ protocol: /^wss?$/ })
    .optional()
    .describe('Where "serve ingress" and "serve egress" join rooms. Default: this process.')
    .meta({ example: 'ws://localhost:7880' }),
  health_port: port
    .default(0)
    .describe(
      'TCP port for /healthz, /readyz, /status and /metrics of "serve ingress" and "serve egress" (0 = any free port).',
    ),
  webhook: webhookSchema.prefault({}).describe('Who is told what happens.'),
  ingress: ingressSchema.prefault({}).describe('Media that comes in.'),
  egress: egressSchema.prefault({}).describe('Recordings.'),
});

/** The validated configuration: every default filled in, no unknown keys. */
export type Config = z.output<typeof configSchema>;

/** Keys LiveKit has and a later issue brings; naming them beats "unknown key". */
export const PLANNED_KEYS: Readonly<Record<string, string>> = {
  turn: 'a TURN server is not in this version: remove "turn"',
};
