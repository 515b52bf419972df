import type { Config } from '../base/config/schema.ts';
import type { IngressOptions } from '../ingress/ingress-service.ts';

/** What URL inputs may read, as configured. */
export function urlInputOptions(config: Config): IngressOptions['url'] {
  const { allow_addresses: allowAddresses, file_root: fileRoot, s3 } = config.ingress.url_input;
  return {
    allowAddresses,
    fileRoot,
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
