import { z } from 'zod';

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

export const egressSchema = z.strictObject({
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
