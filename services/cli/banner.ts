import type { IngressInfo } from '@livekit/protocol';
import { DEV_KEY, DEV_SECRET } from '../base/config/load.ts';
import type { RunningSluice } from './compose.ts';

export type BannerOptions = {
  sluice: Pick<RunningSluice, 'urls' | 'recordingsDir'>;
  ingress: IngressInfo | undefined;
  devKeys: boolean;
  limits: readonly string[];
};

/** What a newcomer needs right after the start; goes to stdout, logs go to stderr. */
export function banner({ sluice, ingress, devKeys, limits }: BannerOptions): string {
  const { urls, recordingsDir } = sluice;
  const lines = [
    '',
    'Sluice is running.',
    '',
    `  Page and API   ${urls.api}/`,
    `  WebSocket      ${urls.ws}`,
    ...(ingress === undefined
      ? line('RTMP', urls.rtmp, '  (make a stream key on the page or with CreateIngress)')
      : [
          `  OBS            Settings → Stream → Service "Custom…"`,
          `    Server       ${ingress.url}`,
          `    Stream key   ${ingress.streamKey}   → room "${ingress.roomName}"`,
        ]),
    ...otherPushLines(urls),
    ...line('WHIP', urls.whip, '  (bearer token: the stream key of a WHIP endpoint)'),
    `  Recordings     ${recordingsDir}`,
    ...limits.map((limit) => `  Limit          ${limit}`),
    ...(devKeys
      ? [
          '',
          `  DEVELOPMENT KEYS in use (${DEV_KEY} / ${DEV_SECRET}): everybody knows them. Set "keys" before`,
          '  you let other machines in.',
        ]
      : []),
    '',
    'Next: npm run demo    (in a second terminal: streams, records, checks the files)',
    '',
  ];
  return `${lines.join('\n')}\n`;
}

function otherPushLines({ rtmps, srt }: RunningSluice['urls']): string[] {
  return [...line('RTMPS', rtmps), ...line('SRT', srt, '?streamid=<stream key of an RTMP endpoint>')];
}

/** None when nothing is served there. */
function line(name: string, url: string, more = ''): string[] {
  return url === '' ? [] : [`  ${name.padEnd(15)}${url}${more}`];
}

/** What an operator needs to know of a worker: where it can be asked how it is. */
export function workerBanner(options: {
  sluice: Pick<RunningSluice, 'role' | 'urls' | 'ports' | 'recordingsDir'>;
  limits: readonly string[];
}): string {
  const { role, urls, ports, recordingsDir } = options.sluice;
  const lines = [
    '',
    `Sluice ${role} is running.`,
    '',
    `  Health         http://localhost:${ports.health}/  (healthz, readyz, status, metrics)`,
    `  Server         ${urls.ws}`,
    ...(role === 'ingress'
      ? [...line('RTMP', urls.rtmp), ...otherPushLines(urls), ...line('WHIP', urls.whip)]
      : [`  Recordings     ${recordingsDir}`]),
    ...options.limits.map((limit) => `  Limit          ${limit}`),
    '',
    'Ready for work.',
    '',
  ];
  return `${lines.join('\n')}\n`;
}
