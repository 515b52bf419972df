import { z } from 'zod';

export const redisSchema = z.strictObject({
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
