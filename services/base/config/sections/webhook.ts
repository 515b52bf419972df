import { z } from 'zod';

export const webhookSchema = z.strictObject({
  urls: z
    .array(z.url({ protocol: /^https?$/ }))
    .default([])
    .describe('http(s) URLs that receive every event (room, participant, track, egress, ingress).'),
  api_key: z
    .string()
    .default('')
    .describe('One of "keys"; its secret signs the events. Empty = the first of "keys".'),
});
