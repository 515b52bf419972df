import { z } from 'zod';
import { port, portOrOff } from './fields.ts';
import { urlInputSchema } from './url-input.ts';

export const ingressSchema = z.strictObject({
  rtmp_port: portOrOff.default(1935).describe('TCP port of the RTMP listener (0 = any free port, -1 = off).'),
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
  srt_port: port
    .optional()
    .describe('UDP port of the SRT listener (0 = any free port). Default: no SRT.')
    .meta({ example: 9000 }),
  srt_passphrase: z
    .string()
    .regex(/^.{10,64}$|^$/, '10 to 64 characters')
    .default('')
    .describe('What all SRT publishers must encrypt with (10 to 64 characters); empty = none may encrypt.'),
  srt_base_url: z
    .url({ protocol: /^srt$/ })
    .optional()
    .describe('SRT address shown to encoders. Default: srt://<first reachable address>:<srt_port>.')
    .meta({ example: 'srt://ingest.example.com:9000' }),
  reconnect_window: z
    .number()
    .min(0)
    .max(300)
    .default(10)
    .describe(
      'Seconds a participant stays when its RTMP or SRT encoder is cut off: the encoder comes back to the same tracks. 0 = off.',
    ),
  duplicate_key: z
    .enum(['reject', 'replace', 'backup'])
    .default('reject')
    .describe(
      'A second RTMP or SRT encoder with the same key is refused (reject), takes the place of the first (replace), ' +
        'or stands by and takes over within half a second when the first ends or stalls (backup).',
    ),
  cpu_cost: z
    .strictObject({
      rtmp: z
        .number()
        .positive()
        .default(0.04)
        .describe('Cores one RTMP stream that passes through reserves.'),
      rtmp_transcoding: z.number().positive().default(0.7).describe('Cores one that is transcoded reserves.'),
      srt: z.number().positive().default(0.08).describe('Cores one SRT publisher reserves.'),
      whip: z.number().positive().default(0.7).describe('Cores one WHIP stream that is transcoded reserves.'),
      whip_bypass_transcoding: z
        .number()
        .positive()
        .default(0.04)
        .describe('Cores one WHIP stream that passes through reserves.'),
      url: z.number().positive().default(0.1).describe('Cores one URL input that passes through reserves.'),
      url_transcoding: z.number().positive().default(0.7).describe('Cores one that is transcoded reserves.'),
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
  whip_port: portOrOff.default(8080).describe('TCP port of the WHIP endpoint (0 = any free port, -1 = off).'),
  whip_base_url: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe('WHIP address handed out to encoders. Default: http://<first reachable address>:<whip_port>/w.')
    .meta({ example: 'https://ingest.example.com/w' }),
  url_input: urlInputSchema.prefault({}).describe('What URL inputs may read.'),
});
