import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { CreateBucketCommand, GetObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { EgressStatus } from '@livekit/protocol';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createStorage } from '../../services/egress/uploads/storage.ts';
import { parsePlaylist } from '../../services/media/hls/playlist.ts';
import type { S3Target } from '../../services/model/egress.ts';
import type { EgressOutputs } from '../../services/model/egress-plan.ts';
import { openSession } from '../support/egress-session.ts';
import { encodeMedia, type EncodedMedia } from '../support/encoded-media.ts';
import { packetHashes } from '../support/ffprobe.ts';
import { freshName } from '../support/fresh-name.ts';
import { startSwift, type Swift } from '../support/swift.ts';

const BUCKET = 'segments';

let swift: Swift;
let client: S3Client;
let media: EncodedMedia;
let folder: string;
/** In the bucket, for this try. */
let job: string;

beforeAll(async () => {
  process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true';
  [swift, media] = await Promise.all([
    startSwift(),
    encodeMedia({ video: 'h264', audio: 'aac', seconds: 5, keyIntervalS: 1 }),
  ]);
  client = new S3Client({
    endpoint: swift.endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId: swift.accessKey, secretAccessKey: swift.secret },
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  });
  await client.send(new CreateBucketCommand({ Bucket: BUCKET }));
}, 240_000);
afterAll(async () => {
  client.destroy();
  await swift.close();
});
beforeEach(async () => {
  job = freshName('job');
  folder = await mkdtemp(path.join(tmpdir(), 'sluice-hls-s3-'));
  await mkdir(path.join(folder, 'work'));
});
afterEach(() => rm(folder, { recursive: true }));

function bucket(name: string): S3Target {
  return {
    ...{ kind: 's3', accessKey: swift.accessKey, secret: swift.secret, sessionToken: '', region: '' },
    ...{ endpoint: swift.endpoint, bucket: name, forcePathStyle: true, metadata: {}, tagging: '' },
    contentDisposition: '',
  };
}

function outputs(storage: S3Target): EgressOutputs {
  return {
    segments: {
      ...{ filenamePrefix: `${job}/seg`, playlistName: `${job}/all`, livePlaylistName: 'live' },
      ...{ segmentDurationS: 1, suffix: 'index', disableManifest: false, storage },
    },
    images: [
      {
        ...{ captureIntervalS: 2, width: 0, height: 0, filenamePrefix: `${job}/image`, suffix: 'index' },
        ...{ disableManifest: false, storage },
      },
    ],
  };
}

async function download(key: string): Promise<{ bytes: Buffer; type: string | undefined }> {
  const object = await client.send(new GetObjectCommand({ Bucket: BUCKET, Key: key }));
  const bytes = Buffer.from((await object.Body?.transformToByteArray()) ?? []);
  return { bytes, type: object.ContentType };
}

describe('segments in S3', () => {
  it('arrive as they close and can be downloaded and decoded', async () => {
    const { session, source, record } = openSession(folder, {
      outputs: outputs(bucket(BUCKET)),
      createStorage,
    });
    await session.prepare();
    const running = session.run();
    await expect.poll(() => record.state, { timeout: 15_000 }).toBe('active');
    source.play(media);
    await expect
      .poll(() => record.snapshot().segmentResults[0]?.segmentCount, { timeout: 30_000 })
      .toBeGreaterThanOrEqual(3n);
    const early = await download(`${job}/live.m3u8`);
    expect(early.bytes.toString()).not.toContain('ENDLIST');
    session.stop('stop_requested');
    await running;
    const info = record.snapshot();
    expect(info).toMatchObject({ status: EgressStatus.EGRESS_COMPLETE, error: '' });
    expect(info.segmentResults[0]?.playlistLocation).toBe(`${swift.endpoint}/${BUCKET}/${job}/all.m3u8`);
    const main = await download(`${job}/all.m3u8`);
    expect(main.type).toBe('application/x-mpegurl');
    const listed = parsePlaylist(main.bytes.toString());
    expect(listed).toHaveLength(5);
    const parts: Buffer[] = [];
    for (const { name } of listed) {
      const { bytes, type } = await download(`${job}/${name}`);
      expect(type).toBe('video/mp2t');
      parts.push(bytes);
    }
    const joined = path.join(folder, 'joined.ts');
    await writeFile(joined, Buffer.concat(parts));
    expect(await packetHashes(joined, 'video')).toHaveLength(media.video?.packets.length ?? -1);
    expect((await download(`${job}/image_00000.jpeg`)).type).toBe('image/jpeg');
    const manifest = await download(`${job}/EG_1.json`);
    expect(manifest.type).toBe('application/json');
    expect(JSON.parse(manifest.bytes.toString())).toMatchObject({
      playlists: [{ location: `${swift.endpoint}/${BUCKET}/${job}/all.m3u8` }],
    });
  });

  it('name a bucket that does not exist before anything starts', async () => {
    const { session } = openSession(folder, { outputs: outputs(bucket('no-such')), createStorage });
    await expect(session.prepare()).rejects.toThrow(/bucket no-such .*does not exist/);
  });
});
