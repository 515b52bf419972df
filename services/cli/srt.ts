import type { Config } from '../base/config/schema.ts';
import { ServiceError } from '../base/errors.ts';
import type { IngressOptions } from '../ingress/ingress-service.ts';
import { mediaBindAddress } from './addresses.ts';
import type { Tools } from './tools.ts';

/** SRT as configured; undefined when it is off. @throws ServiceError failed_precondition when ffmpeg cannot speak it. */
export function srtOptions(config: Config, { canSrt }: Pick<Tools, 'canSrt'>): IngressOptions['srt'] {
  const { srt_port: port, srt_passphrase: passphrase } = config.ingress;
  if (port === undefined) {
    return undefined;
  }
  if (!canSrt) {
    throw new ServiceError(
      'failed_precondition',
      'ingress.srt_port: this ffmpeg is built without SRT (libsrt); install another, or leave srt_port out',
    );
  }
  return { port, bindAddress: mediaBindAddress(config), passphrase };
}

/** @param port 0 = SRT is off. @returns '' then. */
export function srtUrl(config: Config, host: string, port: number): string {
  return port === 0 ? '' : (config.ingress.srt_base_url ?? `srt://${host}:${port}`);
}
