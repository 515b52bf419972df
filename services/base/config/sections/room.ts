import { z } from 'zod';
import { seconds } from './fields.ts';

export const roomSchema = z.strictObject({
  auto_create: z.boolean().default(true).describe('Create a room when its first participant joins.'),
  empty_timeout: seconds.default(300).describe('Seconds until a room that nobody ever joined is closed.'),
  departure_timeout: seconds
    .default(20)
    .describe('Seconds a room stays open after the last participant left.'),
  max_participants: z.int().min(0).default(0).describe('Most participants of one room (0 = no limit).'),
});
