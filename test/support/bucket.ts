import { CreateBucketCommand, GetObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { S3Upload } from 'livekit-server-sdk';
import type { ReadDelivered } from './delivered-segments.ts';
import { startSwift } from './swift.ts';

export type Bucket = {
  /** What a request names as its storage. */
  upload: S3Upload;
  read: ReadDelivered;
  close(): Promise<void>;
};

/** An empty bucket at OpenStack Swift, an S3 server nobody here wrote. */
export async function startBucket(name: string): Promise<Bucket> {
  const swift = await startSwift();
  const { endpoint, accessKey, secret } = swift;
  const client = new S3Client({
    ...{ endpoint, region: 'us-east-1', forcePathStyle: true },
    credentials: { accessKeyId: accessKey, secretAccessKey: secret },
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  });
  const close = async (): Promise<void> => {
    client.destroy();
    await swift.close();
  };
  try {
    await client.send(new CreateBucketCommand({ Bucket: name }));
  } catch (error) {
    await close();
    throw error;
  }
  return {
    upload: new S3Upload({ endpoint, accessKey, secret, bucket: name, forcePathStyle: true }),
    read: async (key) => {
      const { Body } = await client.send(new GetObjectCommand({ Bucket: name, Key: key }));
      return Buffer.from((await Body?.transformToByteArray()) ?? []);
    },
    close,
  };
}
