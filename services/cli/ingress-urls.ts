import { OFF } from '../base/config/sections/fields.ts';
import type { Config } from '../base/config/schema.ts';

/** The port a listener of the configuration takes; undefined when it is off. */
export function portUnlessOff(port: number): number | undefined {
  return port === OFF ? undefined : port;
}

/** @param port undefined = off. @returns '' then, unless a base URL leads somewhere else. */
export function rtmpUrl({ ingress }: Config, host: string, port: number | undefined): string {
  return ingress.rtmp_base_url ?? (port === undefined ? '' : `rtmp://${host}:${port}/live`);
}

export function whipUrl({ ingress }: Config, host: string, port: number | undefined): string {
  return ingress.whip_base_url ?? (port === undefined ? '' : `http://${host}:${port}/w`);
}

/** What new endpoints are told: RTMPS and SRT take the keys of RTMP endpoints, too. */
export function baseUrls(urls: { rtmp: string; rtmps: string; srt: string; whip: string }): {
  rtmp: string;
  whip: string;
} {
  return { rtmp: [urls.rtmp, urls.rtmps, urls.srt].find((url) => url !== '') ?? '', whip: urls.whip };
}
