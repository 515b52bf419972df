import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { EgressStatus } from '@livekit/protocol';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ServiceError } from '../../../services/base/errors.ts';
import { imageName, imagePrefix } from '../../../services/egress/outputs/image-output.ts';
import { localStorage } from '../../../services/egress/uploads/local.ts';
import type { FilenameValues } from '../../../services/model/egress-filename.ts';
import type { ImageTarget } from '../../../services/model/egress-plan.ts';
import { openSession } from '../../support/egress-session.ts';
import { encodeMedia, type EncodedMedia } from '../../support/encoded-media.ts';
import { ffprobe, streamOf } from '../../support/ffprobe.ts';
import { isNear, meanColour } from '../../support/picture.ts';

const { EGRESS_COMPLETE, EGRESS_FAILED } = EgressStatus;

let media: EncodedMedia;
let folder: string;
beforeAll(async () => {
  media = await encodeMedia({ video: 'h264', audio: 'aac', seconds: 7, keyIntervalS: 1 });
});
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'sluice-images-'));
  await mkdir(path.join(folder, 'work'));
});
afterEach(() => rm(folder, { recursive: true }));

function target(changes: Partial<ImageTarget> = {}): ImageTarget {
  return {
    ...{ captureIntervalS: 2, width: 160, height: 120, filenamePrefix: 'img/p', suffix: 'index' },
    ...{ disableManifest: false, storage: { kind: 'local', rootDir: folder } },
    ...changes,
  };
}

describe('image output', () => {
  it('shows what the recording shows at that moment, in the size asked for', async () => {
    const { session, source, record } = openSession(folder, {
      outputs: {
        file: {
          ...{ kind: 'mp4', filepath: 'whole.mp4', disableManifest: true },
          storage: { kind: 'local', rootDir: folder },
        },
        images: [target(), target({ filenamePrefix: 'img/full', width: 0, height: 0, captureIntervalS: 3 })],
      },
    });
    const running = session.run();
    await expect.poll(() => record.state, { timeout: 15_000 }).toBe('active');
    source.play(media);
    session.stop('stop_requested');
    await running;
    const info = record.snapshot();
    expect(info).toMatchObject({ status: EGRESS_COMPLETE, error: '' });
    expect(info.imageResults.map(({ filenamePrefix, imageCount }) => [filenamePrefix, imageCount])).toEqual([
      ['img/p', 4n],
      ['img/full', 3n],
    ]);
    expect((await readdir(path.join(folder, 'img'))).sort()).toEqual([
      'EG_1.json',
      ...['full_00000.jpeg', 'full_00001.jpeg', 'full_00002.jpeg'],
      ...['p_00000.jpeg', 'p_00001.jpeg', 'p_00002.jpeg', 'p_00003.jpeg'],
    ]);
    const whole = path.join(folder, 'whole.mp4');
    for (const index of [0, 1, 2, 3]) {
      const image = path.join(folder, `img/p_0000${String(index)}.jpeg`);
      expect(streamOf(await ffprobe(image), 'video')).toMatchObject({
        ...{ codec_name: 'mjpeg', width: 160, height: 120 },
      });
    }
    for (const [index, atS] of [0, 3, 6].entries()) {
      const image = path.join(folder, `img/full_0000${String(index)}.jpeg`);
      expect(streamOf(await ffprobe(image), 'video')).toMatchObject({ width: 320, height: 240 });
      for (const point of [
        { x: 0.2, y: 0.3 },
        { x: 0.5, y: 0.5 },
        { x: 0.8, y: 0.7 },
      ]) {
        const seen = await meanColour(image, 0, point);
        expect([atS, isNear(seen, await meanColour(whole, atS, point)), seen]).toEqual([atS, true, seen]);
      }
    }
    const manifest = JSON.parse(await readFile(path.join(folder, 'img/EG_1.json'), 'utf8')) as {
      images: { filename: string; timestamp: number; location: string }[];
    };
    expect(manifest.images).toHaveLength(7);
    expect(manifest.images.map(({ filename }) => filename)).toContain('img/p_00003.jpeg');
  });

  it('asks for a key frame when one is due', async () => {
    const { session, source, record } = openSession(folder, { outputs: { images: [target()] } });
    const running = session.run();
    await expect.poll(() => record.state, { timeout: 15_000 }).toBe('active');
    const packets = media.video?.packets.map((packet) => ({ ...packet, key: packet.ptsUs === 0 })) ?? [];
    source.play({ video: media.video && { ...media.video, packets }, audio: undefined });
    session.stop('stop_requested');
    await running;
    expect(source.keyframesAsked).toBeGreaterThanOrEqual(4);
    expect(record.snapshot().imageResults[0]?.imageCount).toBe(1n);
  });

  it('keeps one image up to date, and fails with the destination when it refuses', async () => {
    const local = localStorage({ kind: 'local', rootDir: folder });
    let stored = 0;
    const storage = {
      ...local,
      store: (options: Parameters<typeof local.store>[0]) =>
        ++stored < 3
          ? local.store(options)
          : Promise.reject(new ServiceError('permission_denied', 'S3 upload failed: bucket b: no')),
    };
    const { session, source, record } = openSession(folder, {
      storage,
      outputs: { images: [target({ suffix: 'none_overwrite' })] },
    });
    const running = session.run();
    await expect.poll(() => record.state, { timeout: 15_000 }).toBe('active');
    source.play(media);
    session.stop('stop_requested');
    await running;
    expect(await readdir(path.join(folder, 'img'))).toEqual(['p.jpeg']);
    expect(record.snapshot()).toMatchObject({
      status: EGRESS_FAILED,
      errorCode: 403,
      error: expect.stringMatching(
        /bucket b: no; [12] images that were not stored are kept at .*rescue\/EG_1/,
      ) as string,
    });
    expect(await readdir(path.join(folder, 'rescue/EG_1'))).toEqual(['p.jpeg']);
  });

  it('fails when no picture ever came', async () => {
    const { session, source, record } = openSession(folder, { outputs: { images: [target()] } });
    const running = session.run();
    await expect.poll(() => record.state, { timeout: 15_000 }).toBe('active');
    source.events.emit('ended', { reason: 'source_closed' });
    await running;
    expect(record.snapshot()).toMatchObject({
      status: EGRESS_FAILED,
      error: expect.stringMatching(/no image was captured/) as string,
    });
  });

  it('is named by number, time or nothing', () => {
    const values: FilenameValues = {
      ...{ defaultStem: 'studio', roomName: 'studio', roomId: '', trackId: '', publisherIdentity: '' },
      ...{ trackType: '', trackSource: '', startedAtMs: Date.UTC(2026, 0, 2, 15, 4, 5, 67) },
    };
    expect(imagePrefix(target({ filenamePrefix: 'a/{room_name}.jpg' }), values)).toBe('a/studio');
    expect(imagePrefix(target({ filenamePrefix: 'a/' }), values)).toMatch(/^a\/studio-2026/);
    expect(imageName('p', 'index', 3, 0)).toBe('p_00003.jpeg');
    expect(imageName('p', 'timestamp', 3, values.startedAtMs)).toBe('p_20260102150405067.jpeg');
    expect(imageName('p', 'none_overwrite', 3, 0)).toBe('p.jpeg');
  });
});
