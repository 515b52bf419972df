import { parseArgs, type ParseArgsConfig } from 'node:util';
import { messageOf } from '../base/errors.ts';

/** 0 = done, 1 = failed, 2 = called wrongly. */
export type ExitCode = 0 | 1 | 2;

export type CliCommand = {
  /** What the user types: one verb, or noun and verb. */
  name: string;
  summary: string;
  usage: string;
  run(args: string[]): Promise<ExitCode>;
};

/** The caller typed something the command does not understand: exit code 2, message and usage. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

type Options = NonNullable<ParseArgsConfig['options']>;

/** Strict flags, no positionals. @throws UsageError. */
export function parseFlags<const T extends Options>(args: string[], options: T) {
  try {
    return parseArgs({ args, options, strict: true, allowPositionals: false }).values;
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
}

/** A whole number between min and max. @throws UsageError naming the flag. */
export function integerFlag(
  name: string,
  value: string | undefined,
  min: number,
  max: number,
): number | undefined {
  if (value === undefined) {
    return undefined;
  }
  const number = Number(value);
  if (!Number.isInteger(number) || number < min || number > max) {
    throw new UsageError(`--${name}: expected a whole number from ${min} to ${max}`);
  }
  return number;
}
