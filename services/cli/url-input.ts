import { readFile } from 'node:fs/promises';
import { X509Certificate } from 'node:crypto';
import { rootCertificates } from 'node:tls';
import type { Config } from '../base/config/schema.ts';
import { messageOf, ServiceError } from '../base/errors.ts';
import type { TlsTrust } from '../base/net/dial.ts';
import type { IngressOptions } from '../ingress/ingress-service.ts';

/** What URL inputs may read, as configured. @throws ServiceError invalid_argument naming an unusable file. */
export async function urlInputOptions(config: Config): Promise<IngressOptions['url']> {
  const { allow_addresses: allowAddresses, file_root: fileRoot, s3 } = config.ingress.url_input;
  return {
    allowAddresses,
    fileRoot,
    tls: await trustOf(config),
    s3: s3 && {
      accessKey: s3.access_key,
      secret: s3.secret,
      sessionToken: s3.session_token,
      region: s3.region,
      endpoint: s3.endpoint,
      forcePathStyle: s3.force_path_style,
      buckets: s3.buckets,
    },
  };
}

async function trustOf({ ingress }: Config): Promise<TlsTrust> {
  const { tls_verify: verify, tls_ca_file: caFile } = ingress.url_input;
  if (caFile === '') {
    return { verify };
  }
  try {
    const pem = await readFile(caFile, 'utf8');
    // OpenSSL would silently leave out what it cannot read.
    new X509Certificate(pem);
    return { verify, ca: [...rootCertificates, pem] };
  } catch (error) {
    throw new ServiceError(
      'invalid_argument',
      `ingress.url_input.tls_ca_file: ${caFile} cannot be used: ${messageOf(error)}`,
    );
  }
}
