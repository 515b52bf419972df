import { readFile } from 'node:fs/promises';
import type { Config } from '../base/config/schema.ts';
import { messageOf, ServiceError } from '../base/errors.ts';
import type { IngressOptions } from '../ingress/ingress-service.ts';
import { mediaBindAddress } from './addresses.ts';

/** RTMPS as configured; nothing when it is off. @throws ServiceError invalid_argument naming the missing file. */
export async function rtmpsOptions(config: Config): Promise<Pick<IngressOptions, 'rtmps'>> {
  const { rtmps_port: port, rtmps_cert_file: certFile, rtmps_key_file: keyFile } = config.ingress;
  if (port === undefined) {
    return {};
  }
  const [cert, key] = await Promise.all([
    readPem('ingress.rtmps_cert_file', certFile),
    readPem('ingress.rtmps_key_file', keyFile),
  ]);
  return { rtmps: { port, bindAddress: mediaBindAddress(config), cert, key } };
}

/** @param port 0 = RTMPS is off. @returns '' then. */
export function rtmpsUrl(config: Config, host: string, port: number): string {
  return port === 0 ? '' : (config.ingress.rtmps_base_url ?? `rtmps://${host}:${port}/live`);
}

async function readPem(key: string, file: string): Promise<string> {
  if (file === '') {
    throw new ServiceError('invalid_argument', `${key}: missing; RTMPS needs a certificate and its key`);
  }
  return readFile(file, 'utf8').catch((error: unknown) => {
    throw new ServiceError('invalid_argument', `${key}: cannot read ${file}: ${messageOf(error)}`);
  });
}
