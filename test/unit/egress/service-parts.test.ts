import { EgressInfo, EgressStatus } from '@livekit/protocol';
import { describe, expect, it } from 'vitest';
import { createLogger } from '../../../services/base/logger.ts';
import { MemoryBus } from '../../../services/bus/memory-bus.ts';
import { IOInfo } from '../../../services/bus/rpc-methods.ts';
import { Admission, AFFINITY } from '../../../services/egress/admission.ts';
import { InfoReporter } from '../../../services/egress/info-reporter.ts';
import { Manifest } from '../../../services/egress/outputs/manifest.ts';
import { resolvePath } from '../../../services/egress/uploads/local.ts';
import { s3Location } from '../../../services/egress/uploads/s3.ts';
import type { S3Target, ValidatedEgress } from '../../../services/model/egress.ts';

const logger = createLogger({ level: 'silent' });

describe('admission', () => {
  it('packs jobs by cost, always takes one on an idle node, and refuses with the numbers', () => {
    const admission = new Admission(2, 0.9);
    expect(admission.affinity(4)).toBe(AFFINITY.idle);
    admission.reserve('EG_1', 0.9);
    expect(admission.affinity(0.9)).toBe(AFFINITY.busy);
    admission.reserve('EG_2', 0.9);
    expect(admission.affinity(0.9)).toBe(AFFINITY.full);
    expect(() => {
      admission.reserve('EG_3', 0.9);
    }).toThrow(/not enough CPU: the job needs 0.9 cores, 1.80 of 1.80 are taken by 2 jobs/);
    expect(() => {
      admission.reserve('EG_1', 0);
    }).toThrow(/already exists/);
    admission.release('EG_1');
    admission.reserve('EG_3', 0.9);
    expect(admission.jobs).toBe(2);
  });
});

describe('info reporter', () => {
  it('sends the newest state until it is taken, skips what is overtaken', async () => {
    const bus = new MemoryBus();
    const reporter = new InfoReporter(bus, logger);
    const info = (status: EgressStatus) => new EgressInfo({ egressId: 'EG_1', status });
    reporter.report(info(EgressStatus.EGRESS_ACTIVE));
    reporter.report(info(EgressStatus.EGRESS_ENDING));
    reporter.report(info(EgressStatus.EGRESS_COMPLETE));
    const taken: EgressStatus[] = [];
    await bus.serve(IOInfo.updateEgress, ({ status }) => {
      taken.push(status);
      return Promise.resolve({});
    });
    await reporter.flush();
    expect(taken).toEqual([EgressStatus.EGRESS_COMPLETE]);
    await bus.close();
  });

  it('does not hold up a shutdown when nobody takes it', async () => {
    const reporter = new InfoReporter(new MemoryBus(), logger);
    reporter.report(new EgressInfo({ egressId: 'EG_1' }));
    await reporter.close();
  });
});

describe('places and names', () => {
  const s3: S3Target = {
    kind: 's3',
    accessKey: '',
    secret: '',
    sessionToken: '',
    region: '',
    endpoint: '',
    bucket: 'b',
    forcePathStyle: false,
    metadata: {},
    tagging: '',
    contentDisposition: '',
  };
  it.each([
    [{}, 'https://b.s3.amazonaws.com/k/x.mp4'],
    [{ endpoint: 'https://minio:9000' }, 'https://b.minio:9000/k/x.mp4'],
    [{ endpoint: 'http://minio:9000', forcePathStyle: true }, 'http://minio:9000/b/k/x.mp4'],
  ])("reports LiveKit's S3 location for %o", (changes, expected) => {
    expect(s3Location({ ...s3, ...changes }, 'k/x.mp4')).toBe(expected);
  });

  it('keeps relative paths inside the recordings folder', () => {
    const target = { kind: 'local', rootDir: '/rec' } as const;
    expect(resolvePath(target, 'a/b.mp4')).toBe('/rec/a/b.mp4');
    expect(resolvePath(target, '/data/b.mp4')).toBe('/data/b.mp4');
    expect(() => resolvePath(target, 'a/../../b.mp4')).toThrow(/leaves the recordings folder/);
    expect(() => resolvePath({ kind: 'local', rootDir: '/rec' }, '../recordings-of-others/x')).toThrow();
  });

  it('writes nanoseconds as exact numbers into the manifest, and leaves empty fields out', () => {
    const egress = {
      ...{ egressId: 'EG_1', roomId: '', roomName: 'a "b"', token: '', wsUrl: '' },
      job: { kind: 'track', trackId: '' },
      ...{ encoding: null, outputs: { images: [] }, webhooks: [] },
    } satisfies ValidatedEgress;
    const manifest = new Manifest();
    manifest.addFile({ filename: 'x.mp4', location: '/x.mp4' });
    const facts = { publisherIdentity: '', trackId: '', trackType: '', trackSource: '' };
    const json = manifest.json(egress, facts, 1_767_366_245_067_123_456n, 2n);
    expect(json).toContain('"started_at":1767366245067123456');
    expect(Object.keys(JSON.parse(json) as object)).toEqual([
      'egress_id',
      'room_name',
      'started_at',
      'ended_at',
      'files',
    ]);
  });
});
