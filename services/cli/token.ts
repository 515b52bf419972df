import { OPERATOR_GRANTS } from '../api/overview.ts';
import { mintToken } from '../protocol/token.ts';
import { integerFlag, parseFlags, UsageError, type CliCommand } from './command.ts';
import { loadFromFlags } from './config-flags.ts';

const DEFAULT_TTL_HOURS = 6;
const KEY_FLAGS = { config: { type: 'string' }, 'ttl-hours': { type: 'string' } } as const;

async function mint(
  flags: { config?: string | undefined; 'ttl-hours'?: string | undefined },
  options: Omit<Parameters<typeof mintToken>[2], 'ttlS'>,
): Promise<0> {
  const hours = integerFlag('ttl-hours', flags['ttl-hours'], 1, 24 * 365) ?? DEFAULT_TTL_HOURS;
  const { config } = await loadFromFlags(flags);
  const [pair] = Object.entries(config.keys);
  if (pair === undefined) {
    throw new UsageError('no API key is configured');
  }
  process.stdout.write(`${await mintToken(pair[0], pair[1], { ...options, ttlS: hours * 3600 })}\n`);
  return 0;
}

export const joinTokenCommand: CliCommand = {
  name: 'create-join-token',
  summary: 'print a token with which a participant joins a room',
  usage: 'create-join-token --room NAME --identity NAME [--ttl-hours N] [--config FILE]',
  run(args) {
    const flags = parseFlags(args, { ...KEY_FLAGS, room: { type: 'string' }, identity: { type: 'string' } });
    const { room, identity } = flags;
    if (room === undefined || identity === undefined) {
      throw new UsageError('--room and --identity are needed');
    }
    return mint(flags, { identity, video: { roomJoin: true, room } });
  },
};

export const pageTokenCommand: CliCommand = {
  name: 'create-page-token',
  summary: 'print a token for signing in to the first page',
  usage: 'create-page-token [--ttl-hours N] [--config FILE]',
  run(args) {
    const video = Object.fromEntries(OPERATOR_GRANTS.map((grant) => [grant, true]));
    return mint(parseFlags(args, KEY_FLAGS), { identity: 'operator', video });
  },
};
