import { z } from 'zod';

export const urlInputSchema = z.strictObject({
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
