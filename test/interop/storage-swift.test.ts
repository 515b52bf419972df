import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  CreateBucketCommand,
  GetObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  S3Client,
} from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createStorage } from '../../services/egress/uploads/storage.ts';
import type { S3Target } from '../../services/model/egress.ts';
import { startSwift, type Swift } from '../support/swift.ts';

const BUCKET = 'recordings';
let swift: Swift;
let client: S3Client;
let folder: string;

beforeAll(async () => {
  process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true';
  swift = await startSwift();
  folder = await mkdtemp(path.join(tmpdir(), 'sluice-storage-'));
  client = new S3Client({
    endpoint: swift.endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId: swift.accessKey, secretAccessKey: swift.secret },
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  });
  await client.send(new CreateBucketCommand({ Bucket: BUCKET }));
});
afterAll(async () => {
  client.destroy();
  await swift.close();
  await rm(folder, { recursive: true });
});

function target(changes: Partial<S3Target> = {}): S3Target {
  return {
    kind: 's3',
    accessKey: swift.accessKey,
    secret: swift.secret,
    sessionToken: '',
    region: '',
    endpoint: swift.endpoint,
    bucket: BUCKET,
    forcePathStyle: true,
    metadata: {},
    tagging: '',
    contentDisposition: '',
    ...changes,
  };
}

async function download(key: string) {
  const object = await client.send(new GetObjectCommand({ Bucket: BUCKET, Key: key }));
  const body = await object.Body?.transformToByteArray();
  return {
    object,
    sha256: createHash('sha256')
      .update(body ?? '')
      .digest('hex'),
    length: body?.length,
  };
}

describe('S3 storage against OpenStack Swift', () => {
  it.each([
    ['one request', 10_007],
    ['many parts', 21_000_003],
  ])('uploads in %s what is downloaded byte for byte', async (name, length) => {
    const bytes = randomBytes(length);
    const file = path.join(folder, name);
    await writeFile(file, bytes);
    const key = `room ü/${name}.mp4`;
    const storage = createStorage(target({ metadata: { job: 'EG_1' } }));
    await storage.preflight(key);
    const stored = await storage.store({ file, storagePath: key, mimeType: 'video/mp4' });
    storage.close();
    expect(stored.location).toBe(`${swift.endpoint}/${BUCKET}/${key}`);
    const { object, sha256, length: got } = await download(key);
    expect(got).toBe(length);
    expect(sha256).toBe(createHash('sha256').update(bytes).digest('hex'));
    expect(object.ContentType).toBe('video/mp4');
    expect(object.ContentDisposition).toBe('inline');
    expect(object.Metadata).toEqual({ job: 'EG_1' });
  });

  it('leaves neither object nor upload behind a pre-flight', async () => {
    const storage = createStorage(target());
    await storage.preflight('probe/file.mp4');
    storage.close();
    const objects = await client.send(new ListObjectsV2Command({ Bucket: BUCKET, Prefix: 'probe/' }));
    const uploads = await client.send(new ListMultipartUploadsCommand({ Bucket: BUCKET }));
    expect(objects.Contents ?? []).toEqual([]);
    expect(uploads.Uploads ?? []).toEqual([]);
  });

  it.each<[string, () => Partial<S3Target>, RegExp]>([
    [
      'wrong secret',
      () => ({ secret: 'not-the-secret' }),
      /bucket recordings at http.*: the secret is wrong/,
    ],
    ['unknown key', () => ({ accessKey: 'nobody:here' }), /the (access key is unknown|secret is wrong)/],
    ['unknown bucket', () => ({ bucket: 'no-such-bucket' }), /bucket no-such-bucket .*does not exist/],
    ['nobody listening', () => ({ endpoint: 'http://127.0.0.1:9' }), /ECONNREFUSED/],
  ])('says before the recording what is wrong: %s', async (_name, changes, message) => {
    const storage = createStorage(target(changes()));
    const failure = storage.preflight('x.mp4');
    await expect(failure).rejects.toMatchObject({ code: 'invalid_argument', blame: 'destination' });
    await expect(failure).rejects.toThrow(message);
    await expect(failure).rejects.not.toThrow(/testing|not-the-secret/);
    storage.close();
  });
});
