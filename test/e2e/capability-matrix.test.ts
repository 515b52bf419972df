import { createReadStream } from 'node:fs';
import { access, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  EgressStatus,
  EncodedFileOutput,
  EncodingOptions,
  GCPUpload,
  IngressClient,
  IngressInput,
  RoomServiceClient,
} from 'livekit-server-sdk';
import { afterAll, beforeAll, describe, expect, it, onTestFailed } from 'vitest';
import { flashBeepInputs } from '../../fixtures/flash-beep.ts';
import { startBucket, type Bucket } from '../support/bucket.ts';
import { expectContent, RECORD_MS } from '../support/capability-content.ts';
import {
  capabilityJobs,
  missingJobs,
  nameOf,
  startCapabilityJob,
  untouchedRequests,
  type CapabilityJob,
} from '../support/capability-jobs.ts';
import { CAPABILITIES, INGRESS, type Proof } from '../support/capability-matrix.ts';
import { renderCapabilities } from '../support/capability-table.ts';
import { flashBeepPage, startPageServer, type PageServer } from '../support/capture-page.ts';
import { startClipRoom, type ClipRoom } from '../support/clip-room.ts';
import { fromFolder, joinSegments } from '../support/delivered-segments.ts';
import { encodeMedia } from '../support/encoded-media.ts';
import { ffmpeg } from '../support/ffmpeg-encoder.ts';
import { frameCounters } from '../support/frame-counter.ts';
import { LoopPublisher } from '../support/loop-publisher.ts';
import { until } from '../support/published-room.ts';
import { API_KEY, API_SECRET } from '../support/sluice-process.ts';
import { startSrtReceiver } from '../support/srt-receiver.ts';

/** Jobs at a time: pages and encoders of two are what two cores carry. */
const AT_A_TIME = 2;
const COST = 0.01;
/** Seconds between the key frames of a transcoded ingress. */
const TRANSCODED_GOP_S = 2;
const root = path.resolve(import.meta.dirname, '..', '..');
const read = (file: string): Promise<string> => readFile(path.join(root, file), 'utf8');

describe('capabilities', () => {
  const proofs: Proof[] = [
    ...Object.values(CAPABILITIES).flatMap(({ stored, streams }) => [
      ...Object.values(stored).flatMap((stores) => Object.values(stores)),
      ...Object.values(streams),
    ]),
    ...INGRESS.flatMap(({ passthrough, transcode }) => [passthrough, transcode]),
  ].filter((proof) => proof !== undefined);

  it('are each proven by a test that is there', async () => {
    for (const proof of new Set(proofs)) {
      if (proof !== 'here') {
        expect(await read(proof.file), proof.file).toContain(proof.test);
      }
    }
  });

  it('stand in README.md as they are here', async () => {
    const [, table] =
      /<!-- capabilities -->\n\n(.*?)\n\n<!-- \/capabilities -->/s.exec(await read('README.md')) ?? [];
    expect(table).toBe(renderCapabilities());
  });
});

describe('every combination', () => {
  let clip: ClipRoom;
  let bucket: Bucket;
  let pages: PageServer;
  let vp8Track: { room: string; trackId: string };
  /** Whatever has been started, in this order; a set-up that fails half-way leaves nothing behind. */
  const closers: (() => unknown)[] = [];
  const turns = takeTurns(AT_A_TIME);

  beforeAll(async () => {
    process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true';
    const cost = { room_composite: COST, web: COST, participant: COST, track_composite: COST };
    // Swift first: it takes ports that were free a moment ago.
    bucket = await startBucket('matrix');
    closers.push(() => bucket.close());
    clip = await startClipRoom({
      egress: { cpu_cost: cost },
      ingress: { rtmp_port: 0, whip_port: 0, url_input: { allow_addresses: ['127.0.0.1/32'] } },
    });
    closers.push(() => clip.close());
    pages = await startPageServer({
      '/flash': flashBeepPage(),
      '/b-frames.mp4': (response) => {
        createReadStream(path.join(clip.workDir, 'b-frames.mp4')).pipe(response);
      },
    });
    closers.push(() => pages.close());
    const { video } = await encodeMedia({ video: 'vp8', seconds: 2 });
    const vp8 = await LoopPublisher.join({ ...clip, wsUrl: clip.sluice.wsUrl }, 'vp8', 'vp8');
    closers.push(() => vp8.close());
    vp8Track = { room: 'vp8', trackId: video === undefined ? '' : (await vp8.publish(video)).trackSid };
  }, 120_000);
  afterAll(async () => {
    for (const close of closers.reverse()) {
      await close();
    }
  });

  for (const job of capabilityJobs()) {
    let tries = 0;
    it.concurrent(job.name, { timeout: 240_000 }, () => {
      tries += 1;
      return turns(() => run({ ...job, id: `${job.id}-${String(tries)}` }));
    });
  }

  let films = 0;
  it('URL, MP4 → transcoded', { timeout: 60_000 }, async () => {
    films += 1;
    const filepath = `film-${String(films)}.mp4`;
    const { sluice, egress, reach, workDir } = clip;
    await ffmpeg([
      ...flashBeepInputs({ width: 640, height: 360, framesPerSecond: 30, realTime: false }),
      ...['-t', '30', '-c:v', 'libx264', '-preset', 'veryfast', '-bf', '2', '-pix_fmt', 'yuv420p'],
      ...['-g', '30', '-c:a', 'aac', '-movflags', '+faststart', path.join(workDir, 'b-frames.mp4')],
    ]);
    const ingress = new IngressClient(sluice.apiUrl, API_KEY, API_SECRET);
    const rooms = new RoomServiceClient(sluice.apiUrl, API_KEY, API_SECRET);
    const { ingressId } = await ingress.createIngress(IngressInput.URL_INPUT, {
      url: `${pages.url}/b-frames.mp4`,
      ...{ name: 'film', roomName: 'url', participantIdentity: 'film', participantName: 'Film' },
    });
    onTestFailed(async () => {
      await ingress.deleteIngress(ingressId).catch(() => undefined);
    });
    const film = await until(20_000, 'both tracks of the film', async () => {
      const [participant] = await rooms.listParticipants('url').catch(() => []);
      return participant?.tracks.length === 2 ? participant : undefined;
    });
    expect(film.attributes['sluice.ingress.video']).toMatch(/^transcode: B-frames/);
    const { egressId } = await egress.startParticipantEgress(
      'url',
      'film',
      { file: new EncodedFileOutput({ filepath }) },
      { encodingOptions: new EncodingOptions({ width: 640, height: 360, framerate: 30 }) },
    );
    await reach(egressId, ({ status }) => status === EgressStatus.EGRESS_ACTIVE);
    await delay(RECORD_MS);
    await egress.stopEgress(egressId);
    await reach(egressId, ({ status }) => status === EgressStatus.EGRESS_COMPLETE);
    await ingress.deleteIngress(ingressId);
    await expectContent(
      { source: 'participant', stored: ['mp4'] },
      path.join(sluice.recordingsDir, filepath),
      TRANSCODED_GOP_S,
    );
  });

  it('that is missing is refused by the API, with a word why', async () => {
    const { egress, room } = clip;
    const place = { clip, urls: [], vp8: vp8Track, bucket: bucket.upload, pageUrl: `${pages.url}/flash` };
    for (const job of missingJobs()) {
      const words =
        job.source === 'audio_room'
          ? /image_outputs \(the job has no video\)/
          : /format OGG incompatible with/;
      await expect(startCapabilityJob(job, place), job.name).rejects.toMatchObject({
        status: 400,
        message: expect.stringMatching(words) as string,
      });
    }
    for (const request of untouchedRequests(clip)) {
      await expect(egress.startEgress(request)).rejects.toMatchObject({
        status: 400,
        message: expect.stringMatching(/PASSTHROUGH needs exactly one file/) as string,
      });
    }
    const webm = Object.assign(new EncodedFileOutput({ filepath: 'room.webm' }), { fileType: 9 });
    await expect(egress.startRoomCompositeEgress(room, { file: webm })).rejects.toMatchObject({
      status: 400,
      message: expect.stringContaining('file_type') as string,
    });
    const elsewhere = new EncodedFileOutput({
      output: { case: 'gcp', value: new GCPUpload({ bucket: 'b' }) },
    });
    await expect(egress.startRoomCompositeEgress(room, { file: elsewhere })).rejects.toMatchObject({
      status: 501,
      message: expect.stringContaining('gcp storage is not yet supported') as string,
    });
  });

  async function run(job: CapabilityJob): Promise<void> {
    const { nginx, rtmpsUrl, egress, reach, workDir } = clip;
    const key = (stream: string): string => `${job.id}-${stream}`;
    const srt = job.streams.includes('srt')
      ? await startSrtReceiver(path.join(workDir, key('srt')))
      : undefined;
    const urls = job.streams.map((stream) => {
      const addresses = { rtmp: nginx.url(key(stream)), rtmps: rtmpsUrl(key(stream)), srt: srt?.url ?? '' };
      return addresses[stream];
    });
    if (srt !== undefined) {
      closers.push(() => {
        srt.kill();
      });
    }
    const { egressId } = await startCapabilityJob(job, {
      ...{ clip, urls, vp8: vp8Track, bucket: bucket.upload, pageUrl: `${pages.url}/flash` },
    });
    await reach(
      egressId,
      ({ status, streamResults }) =>
        status === EgressStatus.EGRESS_ACTIVE && streamResults.every(({ startedAt }) => startedAt > 0n),
    );
    // The one wait for time to pass: it is the length of the recording.
    await delay(RECORD_MS);
    await egress.stopEgress(egressId);
    const info = await reach(egressId, ({ status }) => status === EgressStatus.EGRESS_COMPLETE);
    expect(info.error).toBe('');
    for (const stream of job.streams) {
      const sent = stream === 'srt' ? await srt?.received() : await nginx.recorded(key(stream));
      await expectContent(job, sent ?? '');
    }
    const images = await expectStored(job);
    if (job.stored.includes('images')) {
      expect(images.length).toBe(Number(info.imageResults[0]?.imageCount));
    }
  }

  /** Fetches and decodes what the job stored. Returns its images. */
  async function expectStored(job: CapabilityJob): Promise<string[]> {
    const fetched = path.join(clip.workDir, job.id);
    await mkdir(fetched);
    const delivered = job.store === 's3' ? bucket.read : fromFolder(clip.sluice.recordingsDir);
    const fetchFile = async (name: string): Promise<string> => {
      const file = path.join(fetched, path.basename(name));
      await writeFile(file, await delivered(name));
      return file;
    };
    if (job.store === 's3') {
      await expect(access(path.join(clip.sluice.recordingsDir, job.id))).rejects.toThrow(/ENOENT/);
    }
    let film = '';
    for (const output of job.stored.filter((name) => name !== 'images')) {
      const name = nameOf(job, output);
      film =
        output === 'hls'
          ? await joinSegments(delivered, name, path.join(fetched, 'joined.mp4'))
          : await fetchFile(name);
      await expectContent(job, film);
    }
    if (!job.stored.includes('images')) {
      return [];
    }
    const images: string[] = [];
    const names = Array.from(
      { length: 99 },
      (_, index) => `${nameOf(job, 'images')}_${String(index).padStart(5, '0')}.jpeg`,
    );
    for (const name of names) {
      const image = await fetchFile(name).catch(() => undefined);
      if (image === undefined) {
        break;
      }
      images.push(image);
    }
    // They show pictures of the film, in order, and not one picture again and again.
    const shown = (await frameCounters(film)).map(({ value }) => value);
    const places = await Promise.all(
      images.map(async (image) => shown.indexOf((await frameCounters(image))[0]?.value ?? -1)),
    );
    expect(new Set(places).size).toBeGreaterThanOrEqual(2);
    expect(places).not.toContain(-1);
    expect(places).toEqual([...places].sort((a, b) => a - b));
    return images;
  }
});

/** Runs so many at a time, in the order of the calls. */
function takeTurns(places: number): <T>(run: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = [];
  let free = places;
  return async (run) => {
    if (free > 0) {
      free -= 1;
    } else {
      await new Promise<void>((resolve) => waiting.push(resolve));
    }
    try {
      return await run();
    } finally {
      const next = waiting.shift();
      if (next === undefined) {
        free += 1;
      } else {
        next();
      }
    }
  };
}
