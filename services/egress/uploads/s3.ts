import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { PutObjectCommandInput, S3Client } from '@aws-sdk/client-s3';
import { ServiceError, messageOf } from '../../base/errors.ts';
import type { S3Target } from '../../model/egress.ts';
import type { Storage } from './storage.ts';

const PART_BYTES = 8 << 20;
const PARTS_IN_FLIGHT = 3;
const MAX_ATTEMPTS = 6;
const PREFLIGHT_ATTEMPTS = 2;
const PREFLIGHT_TIMEOUT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 5_000;
/** A part must make progress; the whole upload may take hours. */
const REQUEST_TIMEOUT_MS = 120_000;
const DEFAULT_REGION = 'us-east-1';

/** Loaded with the first S3 job: 25 MB that a handler writing to disk does not need. */
async function loadSdk() {
  // The SDK warns once per process about Node 20, which this project supports knowingly.
  process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true';
  const [client, storage] = await Promise.all([import('@aws-sdk/client-s3'), import('@aws-sdk/lib-storage')]);
  return { ...client, Upload: storage.Upload };
}
type Sdk = Awaited<ReturnType<typeof loadSdk>>;

/** S3 and everything that speaks it. */
export function s3Storage(target: S3Target): Storage {
  let uploadClient: S3Client | undefined;
  return {
    async preflight(storagePath) {
      // Starting a multipart upload needs exactly the right that the recording will need, and leaves nothing.
      const sdk = await loadSdk();
      const probe = createClient(sdk, target, PREFLIGHT_ATTEMPTS);
      const address = { Bucket: target.bucket, Key: `${storagePath}.sluice-probe` };
      try {
        const options = { abortSignal: AbortSignal.timeout(PREFLIGHT_TIMEOUT_MS) };
        const { UploadId } = await probe.send(new sdk.CreateMultipartUploadCommand(address), options);
        // Aborting may be forbidden to a write-only key; the bucket's own rules clean up then.
        await probe
          .send(new sdk.AbortMultipartUploadCommand({ ...address, UploadId }), options)
          .catch(() => undefined);
      } catch (error) {
        throw uploadError(target, error);
      } finally {
        probe.destroy();
      }
    },
    async store({ file, storagePath, mimeType }) {
      const sdk = await loadSdk();
      uploadClient ??= createClient(sdk, target, MAX_ATTEMPTS);
      const params: PutObjectCommandInput = {
        Bucket: target.bucket,
        Key: storagePath,
        Body: createReadStream(file),
        ContentType: mimeType,
        ContentLength: (await stat(file)).size,
        ContentDisposition: target.contentDisposition || 'inline',
        Metadata: target.metadata,
        ...(target.tagging === '' ? {} : { Tagging: target.tagging }),
      };
      try {
        await new sdk.Upload({
          client: uploadClient,
          params,
          partSize: PART_BYTES,
          queueSize: PARTS_IN_FLIGHT,
          leavePartsOnError: false,
        }).done();
      } catch (error) {
        throw uploadError(target, error);
      }
      return { location: s3Location(target, storagePath) };
    },
    close: () => {
      uploadClient?.destroy();
    },
  };
}

function createClient(sdk: Sdk, target: S3Target, maxAttempts: number): S3Client {
  const isCustom = target.endpoint !== '';
  return new sdk.S3Client({
    region: target.region || process.env['AWS_REGION'] || DEFAULT_REGION,
    forcePathStyle: target.forcePathStyle,
    maxAttempts,
    requestHandler: { connectionTimeout: CONNECT_TIMEOUT_MS, requestTimeout: REQUEST_TIMEOUT_MS },
    // Other servers do not know the SDK's default checksum trailers and store or refuse them (Swift: 501).
    ...(isCustom
      ? {
          endpoint: target.endpoint,
          requestChecksumCalculation: 'WHEN_REQUIRED' as const,
          responseChecksumValidation: 'WHEN_REQUIRED' as const,
        }
      : {}),
    ...(target.accessKey === ''
      ? {}
      : {
          credentials: {
            accessKeyId: target.accessKey,
            secretAccessKey: target.secret,
            ...(target.sessionToken === '' ? {} : { sessionToken: target.sessionToken }),
          },
        }),
  });
}

/** The address LiveKit reports for an uploaded object. */
export function s3Location(target: S3Target, key: string): string {
  const { bucket, endpoint } = target;
  if (target.forcePathStyle) {
    return `${endpoint === '' ? 'https://s3.amazonaws.com' : endpoint}/${bucket}/${key}`;
  }
  const host = endpoint === '' ? 's3.amazonaws.com' : endpoint.replace(/^https?:\/\//i, '');
  return `https://${bucket}.${host}/${key}`;
}

/** What each S3 error code means to the person who wrote the request. */
const HINTS: Readonly<Record<string, string>> = {
  NoSuchBucket: 'the bucket does not exist',
  InvalidBucketName: 'the bucket name is not valid',
  InvalidAccessKeyId: 'the access key is unknown',
  SignatureDoesNotMatch: 'the secret is wrong',
  AccessDenied: 'the key may not write here',
  InvalidToken: 'the session token is wrong',
  ExpiredToken: 'the session token has expired',
  PermanentRedirect: 'the bucket is in another region',
  AuthorizationHeaderMalformed: 'the bucket is in another region',
  CredentialsProviderError: 'no access key in the request and none in the environment',
  TimeoutError: 'the endpoint does not answer',
  AbortError: 'the endpoint does not answer',
};

function uploadError(target: S3Target, error: unknown): ServiceError {
  const name = error instanceof Error ? error.name : '';
  const { $metadata } = error as { $metadata?: { httpStatusCode?: number } };
  const status = $metadata?.httpStatusCode ?? 0;
  const hint = HINTS[name] ?? `${name === '' || name === 'Error' ? '' : `${name}: `}${reasonOf(error)}`;
  const where = `${target.bucket}${target.endpoint === '' ? '' : ` at ${target.endpoint}`}`;
  return new ServiceError('invalid_argument', `S3 upload failed: bucket ${where}: ${hint}`, {
    blame: 'destination',
    retryable: status === 0 || status === 429 || status >= 500,
    cause: error,
  });
}

/** Connection failures hide inside an AggregateError without a message. */
function reasonOf(error: unknown): string {
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error;
  return messageOf(first) || 'unknown error';
}
