import { describe, expect, it } from 'vitest';
import { presignS3 } from '../../../services/ingress/url/s3-presign.ts';

const options = {
  accessKey: 'AKIAIOSFODNN7EXAMPLE',
  secret: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
  sessionToken: '',
  region: 'us-east-1',
  endpoint: '',
  forcePathStyle: false,
  buckets: [],
};

describe('a signed S3 address', () => {
  it('is that of the example in the S3 reference (Authenticating Requests: Using Query Parameters)', () => {
    const url = presignS3(
      options,
      { bucket: 'examplebucket', key: 'test.txt' },
      new Date('2013-05-24T00:00:00Z'),
      86_400,
    );
    expect(url).toBe(
      'https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256' +
        '&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request' +
        '&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host' +
        '&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404',
    );
  });

  it('puts the bucket into the path of an S3-compatible service, and escapes the key', () => {
    const url = presignS3(
      { ...options, endpoint: 'http://127.0.0.1:9000', forcePathStyle: true, sessionToken: 'a/b' },
      { bucket: 'clips', key: "a folder/it's (1).mp4" },
    );
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:9000\/clips\/a%20folder\/it%27s%20%281%29\.mp4\?/);
    expect(url).toContain('&X-Amz-Security-Token=a%2Fb&');
  });
});
