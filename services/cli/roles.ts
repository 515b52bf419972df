import type { Config } from '../base/config/schema.ts';
import { ServiceError } from '../base/errors.ts';
import { UsageError } from './command.ts';
import type { WantedTools } from './tools.ts';

/** What one process is: everything, or one of the programs LiveKit splits it into. */
export type Role = 'all' | 'server' | 'ingress' | 'egress';
type PartName = 'sfu' | 'api' | 'ingress' | 'egress';

const PARTS: Readonly<Record<Role, readonly PartName[]>> = {
  all: ['sfu', 'api', 'ingress', 'egress'],
  server: ['sfu', 'api'],
  ingress: ['ingress'],
  egress: ['egress'],
};

export function partsOf(role: Role): readonly PartName[] {
  return PARTS[role];
}

/** The programs a role drives. */
export function toolsOf(role: Role): WantedTools {
  return { ffmpeg: role !== 'server', chromium: role === 'all' || role === 'egress' };
}

/** The word after `serve`. @throws UsageError. */
export function readRole(word: string | undefined): Role {
  const role = word ?? 'all';
  if (!(role in PARTS)) {
    throw new UsageError(`serve ${role}: expected one of ${Object.keys(PARTS).join(', ')}`);
  }
  return role as Role;
}

/** @throws ServiceError invalid_argument when a worker has nobody to work for. */
export function checkRole(role: Role, config: Config, devKeys: boolean): void {
  if (role === 'all' || role === 'server') {
    return;
  }
  if (config.redis === undefined) {
    throw new ServiceError(
      'invalid_argument',
      `redis: serve ${role} needs the Redis it shares with the server`,
    );
  }
  if (config.ws_url === undefined) {
    throw new ServiceError(
      'invalid_argument',
      `ws_url: serve ${role} needs the address of the server, for example ws://localhost:7880`,
    );
  }
  if (devKeys && !/^wss?:\/\/(localhost|127\.|\[::1\])/.test(config.ws_url)) {
    throw new ServiceError('invalid_argument', 'keys: the development keys are for this machine only');
  }
}
