import { ServiceError } from '../../base/errors.ts';

/** How an address is played beyond LiveKit's API: Sluice's own, given in its fragment. */
export type PlayOptions = {
  /** How often it is played in all; Infinity = until its ingress is deleted. */
  plays: number;
  /** Every round begins so far behind the start of the input. */
  startS: number;
  /** The last picture stays for so long before the participant leaves. */
  holdS: number;
};

const PREFIX = 'sluice_';
const MAX_PLAYS = 100_000;
const MAX_SECONDS = 7 * 24 * 3600;
const KNOWN = ['sluice_loop', 'sluice_start', 'sluice_hold'] as const;

/**
 * Takes `#sluice_loop=3&sluice_start=12.5&sluice_hold=10` off an address. A fragment never reaches a server, so it
 * cannot collide with a query or break a signed one; any other fragment is left alone.
 * @throws ServiceError invalid_argument naming the option that is unknown, double or out of range.
 */
export function splitPlayOptions(url: string): { url: string; options: PlayOptions } {
  const options: PlayOptions = { plays: 1, startS: 0, holdS: 0 };
  const hashAt = url.indexOf('#');
  if (hashAt === -1 || !url.slice(hashAt + 1).includes(PREFIX)) {
    return { url, options };
  }
  const seen = new Set<string>();
  const rest: string[] = [];
  for (const part of url.slice(hashAt + 1).split('&')) {
    if (!part.startsWith(PREFIX)) {
      rest.push(part);
      continue;
    }
    const [name = '', value = ''] = part.split('=', 2);
    if (seen.has(name)) {
      throw invalid(`${name} is given twice`);
    }
    seen.add(name);
    apply(options, name, value);
  }
  return { url: url.slice(0, hashAt) + (rest.length === 0 ? '' : `#${rest.join('&')}`), options };
}

function apply(options: PlayOptions, name: string, value: string): void {
  switch (name) {
    case 'sluice_loop':
      options.plays =
        value === 'forever' ? Number.POSITIVE_INFINITY : number(name, value, /^\d+$/, 1, MAX_PLAYS);
      break;
    case 'sluice_start':
      options.startS = number(name, value, /^\d+(\.\d+)?$/, 0, MAX_SECONDS);
      break;
    case 'sluice_hold':
      options.holdS = number(name, value, /^\d+(\.\d+)?$/, 0, MAX_SECONDS);
      break;
    default:
      throw invalid(`unknown option ${name.slice(0, 40)} (known: ${KNOWN.join(', ')})`);
  }
}

function number(name: string, value: string, form: RegExp, min: number, max: number): number {
  const parsed = form.test(value) ? Number(value) : Number.NaN;
  if (!(parsed >= min && parsed <= max)) {
    const forever = name === 'sluice_loop' ? ', or forever' : '';
    throw invalid(`${name} takes a number from ${min} to ${max}${forever}`);
  }
  return parsed;
}

function invalid(text: string): ServiceError {
  return new ServiceError('invalid_argument', `invalid ingress: url: ${text}`);
}
