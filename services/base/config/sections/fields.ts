import { z } from 'zod';

export const port = z.int().min(0).max(65_535);
export const seconds = z
  .int()
  .min(0)
  .max(7 * 24 * 3600);
