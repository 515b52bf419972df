import type * as livekit from '@livekit/protocol';
import type { S3Target, StorageTarget } from '../egress.ts';
import { invalidField, notSupported } from '../presets.ts';

type StorageCase = livekit.DirectFileOutput['output'] | livekit.StorageConfig['provider'];

/** undefined when the request names no storage here. @throws ServiceError naming the field. */
export function providerOf(config: livekit.StorageConfig | undefined): StorageTarget | undefined {
  return config === undefined ? undefined : storageOf(config.provider);
}

/** undefined when the request names no storage here. @throws ServiceError naming the field. */
export function storageOf(storage: StorageCase): StorageTarget | undefined {
  switch (storage.case) {
    case 's3':
      return s3Target(storage.value);
    case undefined:
      return undefined;
    case 'gcp':
    case 'azure':
    case 'aliOSS':
      throw notSupported(`${storage.case} storage`);
  }
}

function s3Target(upload: livekit.S3Upload): S3Target {
  if (upload.bucket === '') {
    throw invalidField('s3.bucket');
  }
  if (upload.assumeRoleArn !== '' || upload.assumeRoleExternalId !== '') {
    throw notSupported('s3.assume_role_arn');
  }
  if (upload.proxy !== undefined) {
    throw notSupported('s3.proxy');
  }
  if ((upload.accessKey === '') !== (upload.secret === '')) {
    throw invalidField(upload.accessKey === '' ? 's3.access_key' : 's3.secret');
  }
  return {
    kind: 's3',
    accessKey: upload.accessKey,
    secret: upload.secret,
    sessionToken: upload.sessionToken,
    region: upload.region,
    endpoint: endpointUrl(upload.endpoint),
    bucket: upload.bucket,
    forcePathStyle: upload.forcePathStyle,
    metadata: { ...upload.metadata },
    tagging: upload.tagging,
    contentDisposition: upload.contentDisposition || 'inline',
  };
}

/** '' or an absolute address without a trailing slash; a bare host means https. */
function endpointUrl(endpoint: string): string {
  if (endpoint === '') {
    return '';
  }
  const url = /^https?:\/\//i.test(endpoint) ? endpoint : `https://${endpoint}`;
  if (!URL.canParse(url)) {
    throw invalidField('s3.endpoint');
  }
  return url.replace(/\/+$/, '');
}
