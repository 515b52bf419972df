import { pino, type DestinationStream, type Logger as PinoLogger } from 'pino';
import { formatLogLine } from './log-text.ts';
import { redactText, redactValue } from './redact.ts';

export type Logger = PinoLogger;
export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

/** Serialises an error with its cause chain, redacted. */
function serializeError(error: unknown): unknown {
  if (!(error instanceof Error)) {
    return redactValue(error);
  }
  const { code, scope, blame } = error as { code?: unknown; scope?: unknown; blame?: unknown };
  return {
    type: error.name,
    message: redactText(error.message),
    code,
    scope,
    blame,
    stack: error.stack === undefined ? undefined : redactText(error.stack),
    cause: error.cause === undefined ? undefined : serializeError(error.cause),
  };
}

/** The variable that reaches child processes too, so that one terminal shows one form of log. */
export const LOG_FORMAT_VARIABLE = 'SLUICE_LOG_FORMAT';

/**
 * The process logger. Messages are static, facts are fields: `logger.info({ trackSid }, 'track published')`.
 * Ids are bound once with `logger.child({ room, egressId })`. Lines go to stderr; stdout is for people.
 */
export function createLogger(options: { level?: LogLevel; name?: string } = {}): Logger {
  return pino(
    {
      level: options.level ?? 'info',
      base: options.name === undefined ? null : { service: options.name },
      serializers: { err: serializeError, error: serializeError },
      formatters: {
        level: (label) => ({ level: label }),
        log: (fields) => redactValue(fields) as Record<string, unknown>,
      },
      hooks: {
        logMethod(args, method) {
          const safe = args.map((arg: unknown) => (typeof arg === 'string' ? redactText(arg) : arg));
          method.apply(this, safe as Parameters<typeof method>);
        },
      },
    },
    destination(),
  );
}

/** JSON lines, or text for people when SLUICE_LOG_FORMAT=text. */
function destination(): DestinationStream {
  const stderr = pino.destination({ dest: 2, sync: true });
  if (process.env[LOG_FORMAT_VARIABLE] !== 'text') {
    return stderr;
  }
  return {
    write: (line) => {
      stderr.write(formatLogLine(line));
    },
  };
}
