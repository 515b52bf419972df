import { z } from 'zod';

const MAX_PORT = 65_535;
export const OFF = -1;

export const port = z.int().min(0).max(MAX_PORT);
/** As LiveKit's ingress has it: -1 = nothing listens. */
export const portOrOff = z.int().min(OFF).max(MAX_PORT);
export const seconds = z
  .int()
  .min(0)
  .max(7 * 24 * 3600);
