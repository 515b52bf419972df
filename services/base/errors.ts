/**
 * The closed set of error codes. The names are Twirp's, because every code ends up on that wire;
 * the mapping to HTTP status lives here once (https://twitchtv.github.io/twirp/docs/errors.html).
 */
export const HTTP_STATUS_BY_CODE = {
  canceled: 408,
  unknown: 500,
  invalid_argument: 400,
  malformed: 400,
  deadline_exceeded: 408,
  not_found: 404,
  bad_route: 404,
  already_exists: 409,
  permission_denied: 403,
  unauthenticated: 401,
  resource_exhausted: 429,
  failed_precondition: 412,
  aborted: 409,
  out_of_range: 400,
  unimplemented: 501,
  internal: 500,
  unavailable: 503,
  dataloss: 500,
} as const;

export type ErrorCode = keyof typeof HTTP_STATUS_BY_CODE;

/** Who has to act: the caller (bad request), the destination (bucket, RTMP target…) or this service. */
export type Blame = 'caller' | 'destination' | 'service';

/** What is broken: one session (job, connection), or the whole node. */
export type ErrorScope = 'session' | 'node';

export type ServiceErrorOptions = {
  scope?: ErrorScope;
  blame?: Blame;
  retryable?: boolean;
  /** Where HTTP tells more cases apart than the code does (413, 415, 428…). */
  httpStatus?: number;
  cause?: unknown;
};

const CALLER_CODES: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'invalid_argument',
  'malformed',
  'not_found',
  'bad_route',
  'already_exists',
  'permission_denied',
  'unauthenticated',
  'failed_precondition',
  'out_of_range',
  'unimplemented',
]);

/** The one error type that crosses a module boundary. The message says what, where and what to do. */
export class ServiceError extends Error {
  override readonly name = 'ServiceError';
  readonly code: ErrorCode;
  readonly scope: ErrorScope;
  readonly blame: Blame;
  readonly retryable: boolean;
  readonly httpStatus: number;

  constructor(code: ErrorCode, message: string, options: ServiceErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.scope = options.scope ?? 'session';
    this.blame = options.blame ?? (CALLER_CODES.has(code) ? 'caller' : 'service');
    this.retryable = options.retryable ?? (code === 'unavailable' || code === 'deadline_exceeded');
    this.httpStatus = options.httpStatus ?? HTTP_STATUS_BY_CODE[code];
  }

  /** Wraps anything thrown; a ServiceError passes through untouched. */
  static from(error: unknown, code: ErrorCode = 'internal'): ServiceError {
    if (error instanceof ServiceError) {
      return error;
    }
    return new ServiceError(code, messageOf(error), { cause: error });
  }
}

/** The readable part of an unknown thrown value. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
