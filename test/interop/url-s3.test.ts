import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { CreateBucketCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { IngressState_Status } from '@livekit/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { reportOf } from '../support/fake-room-report.ts';
import { ENDPOINT_ERROR } from '../support/ingress-harness.ts';
import { startSwift, type Swift } from '../support/swift.ts';
import { makeClips } from '../support/url-clips.ts';
import { playToEnd, startUrl, startUrlHarness } from '../support/url-play.ts';

const SECONDS = 3;
let dir: string;
let swift: Swift;

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'sluice-url-s3-'));
  swift = await startSwift();
  await makeClips(dir, ['clip.mp4'], SECONDS);
  const client = new S3Client({
    endpoint: swift.endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId: swift.accessKey, secretAccessKey: swift.secret },
  });
  await client.send(new CreateBucketCommand({ Bucket: 'clips' }));
  const Body = await readFile(path.join(dir, 'clip.mp4'));
  await client.send(new PutObjectCommand({ Bucket: 'clips', Key: 'a folder/clip (1).mp4', Body }));
  client.destroy();
}, 240_000);

afterAll(async () => {
  await swift.close();
  await rm(dir, { recursive: true, force: true });
});

const s3 = (change: { secret?: string; buckets?: string[] } = {}) => ({
  ...{ accessKey: swift.accessKey, secret: swift.secret, sessionToken: '', region: 'us-east-1' },
  ...{ endpoint: swift.endpoint, forcePathStyle: true, buckets: [], ...change },
});

describe('an object in S3', () => {
  it('plays with the keys of the configuration, looped', async () => {
    const { harness, end } = await playToEnd('s3://clips/a folder/clip (1).mp4#sluice_loop=2', {
      url: { s3: s3() },
    });
    expect([end.status, end.error]).toEqual([IngressState_Status.ENDPOINT_COMPLETE, '']);
    const report = await reportOf(harness.room);
    expect(report).toMatchObject({ reordered: 1 });
    expect(report.frames).toBeGreaterThanOrEqual(2 * SECONDS * 30 - 4);
    expect(report.beepsS.length).toBeGreaterThanOrEqual(2 * SECONDS - 2);
    expect(Math.abs(report.medianOffsetMs)).toBeLessThanOrEqual(40);
  });

  it('with a wrong key, and one that is not there: the state says so, without the signature', async () => {
    const wrong = await playToEnd('s3://clips/a folder/clip (1).mp4', {
      url: { s3: s3({ secret: 'wrong' }) },
    });
    expect(wrong.end.status).toBe(ENDPOINT_ERROR);
    expect(wrong.end.error).toMatch(/403/);
    expect(wrong.end.error).not.toMatch(/Signature=[0-9a-f]/);
    const missing = await playToEnd('s3://clips/none.mp4', { url: { s3: s3() } });
    expect(missing.end.error).toMatch(/404/);
  });

  it('in a bucket that may not be read, or without keys: refused at once', async () => {
    const harness = await startUrlHarness({ url: { s3: s3({ buckets: ['others'] }) } });
    await expect(startUrl(harness, 's3://clips/x.mp4')).rejects.toMatchObject({
      message: 'bucket clips is not in ingress.url_input.s3.buckets',
    });
    await harness.close();
    const without = await startUrlHarness();
    await expect(startUrl(without, 's3://clips/x.mp4')).rejects.toMatchObject({
      message: /^s3 URLs are switched off/,
    });
    await without.close();
  });
});
