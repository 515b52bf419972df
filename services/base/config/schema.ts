import { z } from 'zod';

/**
 * The one description of the configuration file. Key names are LiveKit's wherever LiveKit has the key
 * (server: top level, rtc, room; its ingress and egress services: below `ingress` and `egress`).
 * docker/config.sample.yaml is generated from the descriptions and defaults below.
 */
const port = z.int().min(0).max(65_535);
const seconds = z
  .int()
  .min(0)
  .max(7 * 24 * 3600);

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

const rtcSchema = z.strictObject({
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

const roomSchema = z.strictObject({
  auto_create: z.boolean().default(true).describe('Create a room when its first participant joins.'),
  empty_timeout: seconds.default(300).describe('Seconds until a room that nobody ever joined is closed.'),
  departure_timeout: seconds
    .default(20)
    .describe('Seconds a room stays open after the last participant left.'),
  max_participants: z.int().min(0).default(0).describe('Most participants of one room (0 = no limit).'),
});

const urlInputSchema = z.strictObject({
  allow_addresses: z
    .array(z.string())
    .default([])
    .describe('Private ranges that URL inputs may read from, as CIDR (10.1.0.0/16); all others are refused.'),
  file_root: z.string().default('').describe('Folder that file:// inputs may read; empty = no files.'),
  tls_verify: z
    .boolean()
    .default(true)
    .describe('Refuse servers (https, rtsps, rtmps, s3) whose certificate cannot be verified.'),
  tls_ca_file: z
    .string()
    .default('')
    .describe('PEM file with authorities that are trusted besides the public ones, for private servers.'),
  s3: z
    .strictObject({
      access_key: z.string().min(1).describe('Access key.').meta({ example: 'AKIA…' }),
      secret: z.string().min(1).describe('Secret key.').meta({ example: '…' }),
      session_token: z.string().default('').describe('Session token of temporary credentials.'),
      region: z.string().default('us-east-1').describe('Region.'),
      endpoint: z.string().default('').describe('URL of an S3-compatible service; empty = AWS.'),
      force_path_style: z
        .boolean()
        .default(false)
        .describe('Put the bucket into the path instead of the host name.'),
      buckets: z
        .array(z.string())
        .default([])
        .describe('Buckets that may be read; empty = all that the key may read.'),
    })
    .optional()
    .describe('What s3://bucket/key inputs are read with. Default: they are refused.'),
});

const ingressSchema = z.strictObject({
  rtmp_port: port.default(1935).describe('TCP port of the RTMP listener (0 = any free port).'),
  rtmp_base_url: z
    .url({ protocol: /^rtmps?$/ })
    .optional()
    .describe(
      'RTMP address handed out to encoders. Default: rtmp://<first reachable address>:<rtmp_port>/live.',
    )
    .meta({ example: 'rtmp://ingest.example.com/live' }),
  rtmps_port: port
    .optional()
    .describe('TCP port of the RTMPS listener (0 = any free port); needs a certificate. Default: no RTMPS.')
    .meta({ example: 1936 }),
  rtmps_cert_file: z.string().default('').describe('PEM file with the certificate chain of RTMPS.'),
  rtmps_key_file: z.string().default('').describe('PEM file with its private key.'),
  rtmps_base_url: z
    .url({ protocol: /^rtmps$/ })
    .optional()
    .describe(
      'RTMPS address shown to encoders. Default: rtmps://<first reachable address>:<rtmps_port>/live.',
    )
    .meta({ example: 'rtmps://ingest.example.com/live' }),
  reconnect_window: z
    .number()
    .min(0)
    .max(300)
    .default(10)
    .describe(
      'Seconds a participant stays when its RTMP encoder is cut off: the encoder comes back to the same tracks. 0 = off.',
    ),
  duplicate_key: z
    .enum(['reject', 'replace', 'backup'])
    .default('reject')
    .describe(
      'A second RTMP encoder with the same key is refused (reject), takes the place of the first (replace), ' +
        'or stands by and takes over within half a second when the first ends or stalls (backup).',
    ),
  cpu_cost: z
    .strictObject({
      rtmp: z
        .number()
        .positive()
        .default(0.04)
        .describe('Cores one RTMP stream that passes through reserves.'),
      rtmp_transcoding: z.number().positive().default(0.6).describe('Cores one that is transcoded reserves.'),
      whip: z.number().positive().default(0.6).describe('Cores one WHIP stream that is transcoded reserves.'),
      whip_bypass_transcoding: z
        .number()
        .positive()
        .default(0.04)
        .describe('Cores one WHIP stream that passes through reserves.'),
      url: z.number().positive().default(0.1).describe('Cores one URL input reserves.'),
    })
    .prefault({})
    .describe(
      'What a session reserves; a node without room for it refuses (an idle node takes any session).',
    ),
  max_cpu_utilization: z
    .number()
    .positive()
    .max(1)
    .default(0.9)
    .describe('Share of all cores that sessions may reserve together.'),
  slates: z
    .record(z.string().min(1), z.string().min(1))
    .default({})
    .describe(
      'Images and clips (without their sound) that can be shown while an RTMP encoder is away, by name.',
    )
    .meta({ example: { pause: '/etc/sluice/pause.png' } }),
  slate: z
    .string()
    .default('')
    .describe(
      'The slate endpoints get whose participant metadata, a JSON object, has no "sluice.ingress.slate"; empty = none.',
    ),
  max_latency_ms: z
    .number()
    .int()
    .min(200)
    .max(30_000)
    .default(1_000)
    .describe('RTMP media that comes later than this after a stall is skipped, up to the next key frame.'),
  whip_port: port.default(8080).describe('TCP port of the WHIP endpoint (0 = any free port).'),
  whip_base_url: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe('WHIP address handed out to encoders. Default: http://<first reachable address>:<whip_port>/w.')
    .meta({ example: 'https://ingest.example.com/w' }),
  url_input: urlInputSchema.prefault({}).describe('What URL inputs may read.'),
});

const s3Schema = z.strictObject({
  access_key: z.string().default('').describe('Access key; empty = the AWS default credential chain.'),
  secret: z.string().default('').describe('Secret key.'),
  session_token: z.string().default('').describe('Session token of temporary credentials.'),
  region: z.string().default('us-east-1').describe('Region.'),
  endpoint: z.string().default('').describe('URL of an S3-compatible service; empty = AWS.'),
  bucket: z.string().min(1).describe('Bucket name.').meta({ example: 'recordings' }),
  force_path_style: z
    .boolean()
    .default(false)
    .describe('Put the bucket into the path instead of the host name.'),
});

const egressSchema = z.strictObject({
  cpu_cost: z
    .strictObject({
      room_composite: z.number().positive().default(0.9).describe('Cores one room composite reserves.'),
      web: z.number().positive().default(0.9).describe('Cores one web egress reserves.'),
      audio_room_composite: z
        .number()
        .positive()
        .default(0.1)
        .describe('Cores one room composite without picture and page reserves.'),
      participant: z.number().positive().default(0.7).describe('Cores one participant egress reserves.'),
      track_composite: z.number().positive().default(0.7).describe('Cores one track composite reserves.'),
      track: z
        .number()
        .positive()
        .default(0.02)
        .describe('Cores one recording without transcoding reserves.'),
    })
    .prefault({})
    .describe('What a job reserves; a node without room for it refuses (an idle node takes any job).'),
  max_cpu_utilization: z
    .number()
    .positive()
    .max(1)
    .default(0.9)
    .describe('Share of all cores that jobs may reserve together.'),
  tmp_dir: z
    .string()
    .default('')
    .describe('Folder for files in the making; empty = the system folder for temporary files.'),
  warm_handlers: z
    .int()
    .min(0)
    .max(1)
    .default(1)
    .describe(
      'Processes kept ready for the next job (0 or 1, about 65 MB): a track starts in half the time.',
    ),
  warm_browsers: z
    .int()
    .min(0)
    .max(1)
    .default(0)
    .describe(
      'Browsers kept ready, each in one more such process (0 or 1, about 450 MB): spares a page the start of Chrome.',
    ),
  twitch_ingest: z
    .string()
    .regex(/^(rtmps?:\/\/[^\s]*\{stream_key\}.*)?$/, 'an RTMP address with {stream_key} in it')
    .default('')
    .describe('What the stream address twitch://KEY stands for; empty = such addresses are refused.')
    .meta({ example: 'rtmps://ingest.example.com/app/{stream_key}' }),
  storage: z
    .strictObject({ s3: s3Schema.describe('S3 or a compatible service.') })
    .optional()
    .describe('Where recordings go when a request names no storage. Default: recordings_dir.'),
});

const redisSchema = z.strictObject({
  address: z
    .string()
    .default('')
    .describe('host:port of a single Redis.')
    .meta({ example: 'localhost:6379' }),
  username: z.string().default('').describe('User name; empty = the default user.'),
  password: z.string().default('').describe('Password; empty = none.'),
  db: z.int().min(0).default(0).describe('Number of the database.'),
  use_tls: z.boolean().default(false).describe('Connect with TLS; "tls" says more.'),
  tls: z
    .strictObject({
      enabled: z.boolean().default(false).describe('Connect with TLS.'),
      insecure: z.boolean().default(false).describe('Do not verify the certificate.'),
      server_name: z.string().default('').describe('Name to verify; empty = the host of the address.'),
      ca_cert_file: z.string().default('').describe('PEM file of the authority.'),
      client_cert_file: z.string().default('').describe('PEM file of our own certificate.'),
      client_key_file: z.string().default('').describe('PEM file of its key.'),
    })
    .prefault({})
    .describe('How TLS is done.'),
  sentinel_master_name: z
    .string()
    .default('')
    .describe('Name of the master that the sentinels watch; empty = no sentinels.'),
  sentinel_addresses: z.array(z.string()).default([]).describe('host:port of every sentinel.'),
  sentinel_username: z.string().default('').describe('User name at the sentinels.'),
  sentinel_password: z.string().default('').describe('Password at the sentinels.'),
  cluster_addresses: z
    .array(z.string())
    .default([])
    .describe('Not supported: refused at the start. Use address or sentinels.'),
});

const webhookSchema = z.strictObject({
  urls: z
    .array(z.url({ protocol: /^https?$/ }))
    .default([])
    .describe('http(s) URLs that receive every event (room, participant, track, egress, ingress).'),
  api_key: z
    .string()
    .default('')
    .describe('One of "keys"; its secret signs the events. Empty = the first of "keys".'),
});

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
