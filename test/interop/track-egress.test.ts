import { execFileSync, spawnSync } from 'node:child_process';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { DirectFileOutput, EgressStatus, S3Upload, TrackEgressRequest } from '@livekit/protocol';
import { ALL_FORMATS, EncodedPacketSink, FilePathSource, Input } from 'mediabunny';
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { createLogger } from '../../services/base/logger.ts';
import { EgressHandler, RoomInternal } from '../../services/bus/rpc-methods.ts';
import { joinLengthPrefixed, splitAnnexB } from '../../services/media/codecs/h264.ts';
import type { AudioFormat, EncodedPacket, VideoFormat } from '../../services/model/packet.ts';
import type { RoomClient, TrackPublisher } from '../../services/rtc-client/room-client-types.ts';
import { connectRoom } from '../../services/rtc-client/room-client.ts';
import { startEgressNode, type EgressNode } from '../support/egress-node.ts';
import { encodeMedia } from '../support/encoded-media.ts';
import { freshName } from '../support/fresh-name.ts';
import { startSfuServer, type SfuServer } from '../support/sfu-server.ts';

const { EGRESS_ACTIVE, EGRESS_STARTING, EGRESS_ENDING, EGRESS_COMPLETE, EGRESS_FAILED, EGRESS_ABORTED } =
  EgressStatus;
const logger = createLogger({ level: (process.env['TEST_LOG'] as 'info' | undefined) ?? 'silent' });
type Track = { format: VideoFormat | AudioFormat; packets: EncodedPacket[] };

let server: SfuServer;
let node: EgressNode;
let publisher: RoomClient;
let tracks: Record<'h264' | 'vp8' | 'opus', Track>;
const published: TrackPublisher[] = [];

beforeAll(async () => {
  const [h264, vp8] = await Promise.all([
    encodeMedia({ video: 'h264', audio: 'opus', seconds: 3 }),
    encodeMedia({ video: 'vp8', seconds: 3 }),
  ]);
  if (h264.video === undefined || h264.audio === undefined || vp8.video === undefined) {
    throw new Error('fixture is incomplete');
  }
  tracks = { h264: h264.video, opus: h264.audio, vp8: vp8.video };
  server = await startSfuServer();
  node = await startEgressNode(server, { trackWaitMs: 2_000 });
  publisher = await join('alice', 'studio');
});
afterEach(async () => {
  await node.stopAll();
  await Promise.allSettled(published.splice(0).map((track) => track.unpublish()));
});
afterAll(async () => {
  await publisher.close('test over');
  await node.close();
  await server.close();
});

async function join(identity: string, room: string): Promise<RoomClient> {
  const token = await server.joinToken(identity, room);
  return connectRoom({ url: server.wsUrl, token, autoSubscribe: false, logger });
}

async function publish(track: Track, client = publisher): Promise<TrackPublisher> {
  const { format } = track;
  const to = await client.publish({
    format,
    name: format.codec,
    source: format.kind === 'video' ? 'camera' : 'microphone',
  });
  published.push(to);
  return to;
}

/** Sends packets at the pace of their clock; resolves with what was sent when `until` aborts or all is out. */
async function play(
  track: Track,
  to: TrackPublisher,
  count = track.packets.length,
): Promise<EncodedPacket[]> {
  const startUs = Math.round(performance.now() * 1000);
  const sent = track.packets.slice(0, count);
  for (const packet of sent) {
    const waitMs = (packet.ptsUs - (performance.now() * 1000 - startUs)) / 1000;
    if (waitMs > 1) {
      await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
    to.write({ ...packet, ptsUs: startUs + packet.ptsUs, dtsUs: startUs + packet.dtsUs });
  }
  return sent;
}

function record(trackId: string, filepath: string, output: Partial<DirectFileOutput> = {}, on = node) {
  const egressId = freshName('EG_track');
  const value = new TrackEgressRequest({
    roomName: 'studio',
    trackId,
    output: { case: 'file', value: new DirectFileOutput({ filepath, ...output }) },
  });
  return { egressId, started: on.start(egressId, 'studio', { case: 'track', value }) };
}

async function recordedPackets(file: string): Promise<Buffer[]> {
  const input = new Input({ source: new FilePathSource(file), formats: ALL_FORMATS });
  const [track] = await input.getTracks();
  const packets: Buffer[] = [];
  if (track !== undefined) {
    for await (const packet of new EncodedPacketSink(track).packets()) {
      packets.push(Buffer.from(packet.data));
    }
  }
  input.dispose();
  return packets;
}

/** Decodes everything. */
function probe(file: string) {
  const json = execFileSync(
    'ffprobe',
    ['-v', 'error', '-count_frames', '-show_streams', '-show_format', '-of', 'json', file],
    { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' },
  );
  const { streams, format } = JSON.parse(json) as {
    streams: { codec_name: string; nb_read_frames: string; width?: number }[];
    format: { duration: string };
  };
  const { stderr: errors } = spawnSync(
    'ffmpeg',
    ['-v', 'error', '-i', file, '-vsync', 'passthrough', '-enc_time_base', '-1', '-f', 'null', '-'],
    { encoding: 'utf8' },
  );
  return {
    codecs: streams.map((stream) => stream.codec_name),
    frames: Number(streams[0]?.nb_read_frames),
    durationS: Number(format.duration),
    errors,
  };
}

describe('track egress', () => {
  it('records H.264 to MP4, VP8 to WebM and Opus to Ogg at once, every packet as it was sent', async () => {
    const names = ['h264', 'vp8', 'opus'] as const;
    const runs = await Promise.all(
      names.map(async (name) => {
        const to = await publish(tracks[name]);
        const { egressId, started } = record(
          to.trackSid,
          '{room_name}/{publisher_identity}-{track_type}-{track_id}',
        );
        expect((await started).status).toBe(EGRESS_STARTING);
        await node.reached(egressId, EGRESS_ACTIVE);
        return { name, to, egressId };
      }),
    );
    await Promise.all(runs.map(({ name, to }) => play(tracks[name], to)));
    for (const { name, to, egressId } of runs) {
      // The last packets are on their way through SFU and jitter buffer.
      await new Promise((resolve) => setTimeout(resolve, 800));
      expect((await node.stop(egressId)).status).toBeGreaterThanOrEqual(EGRESS_ENDING);
      const info = await node.reached(egressId, EGRESS_COMPLETE);
      const kind = { h264: 'mp4', vp8: 'webm', opus: 'ogg' }[name];
      const { packets, format } = tracks[name];
      const file = info.fileResults[0];
      expect(file?.filename).toBe(`studio/alice-${format.kind}-${to.trackSid}.${kind}`);
      expect(file?.location).toBe(path.join(node.folder, file?.filename ?? ''));
      expect(info.details).toBe('End reason: StopEgress API');
      expect(node.history(egressId)).toEqual([
        EGRESS_STARTING,
        EGRESS_ACTIVE,
        EGRESS_ENDING,
        EGRESS_COMPLETE,
      ]);
      expect(Number(file?.size)).toBe((await stat(file?.location ?? '')).size);
      const probed = probe(file?.location ?? '');
      expect(probed).toMatchObject({ codecs: [name], errors: '' });
      // How late the packets were sent is in it.
      expect(probed.durationS).toBeGreaterThan(2.9);
      expect(Math.abs(Number(file?.duration) / 1e9 - probed.durationS)).toBeLessThan(0.1);
      const recorded = await recordedPackets(file?.location ?? '');
      const sent = packets.map(({ data }) =>
        Buffer.from(name === 'h264' ? joinLengthPrefixed(splitAnnexB(data)) : data),
      );
      expect(recorded.map((data) => data.toString('base64'))).toEqual(
        sent.map((data) => data.toString('base64')),
      );
      const manifest = JSON.parse(await readFile(info.manifestLocation, 'utf8')) as Record<string, unknown>;
      expect(manifest).toMatchObject({
        egress_id: egressId,
        track_id: to.trackSid,
        publisher_identity: 'alice',
        track_kind: format.kind,
      });
      await to.unpublish();
    }
    // The service cleans up once the handler's process is gone, a moment after the job.
    await expect.poll(() => readdir(node.tmpDir), { timeout: 15_000 }).toEqual([]);
  });

  it('ends by itself when the track is unpublished', async () => {
    const to = await publish(tracks.opus);
    const file = `${freshName('ends')}.ogg`;
    const { egressId, started } = record(to.trackSid, file, { disableManifest: true });
    await started;
    await node.reached(egressId, EGRESS_ACTIVE);
    await expect(
      server.bus.request(
        EgressHandler.updateStream,
        { egressId, addOutputUrls: ['rtmp://x/y/z'] },
        { topic: egressId },
      ),
    ).rejects.toMatchObject({
      code: 'invalid_argument',
      message: 'UpdateStream called on non-streaming egress',
    });
    await play(tracks.opus, to, 60);
    await to.unpublish();
    const info = await node.reached(egressId, EGRESS_COMPLETE);
    expect(info.details).toBe('End reason: Source closed');
    expect(info.manifestLocation).toBe('');
    expect(probe(path.join(node.folder, file)).frames).toBeGreaterThan(40);
  });

  it('survives kill -9 of one handler: that job fails with a playable file, the other one goes on', async () => {
    const to = await publish(tracks.h264);
    const [victimFile, neighbourFile] = [`${freshName('victim')}.mp4`, `${freshName('neighbour')}.mp4`];
    const victim = record(to.trackSid, victimFile);
    const neighbour = record(to.trackSid, neighbourFile);
    await Promise.all([victim.started, neighbour.started]);
    await Promise.all([victim, neighbour].map(({ egressId }) => node.reached(egressId, EGRESS_ACTIVE)));
    await play(tracks.h264, to);
    const pid = node.service.jobs().find(({ egressId }) => egressId === victim.egressId)?.handlerPid ?? 0;
    process.kill(pid, 'SIGKILL');
    const info = await node.reached(victim.egressId, EGRESS_FAILED);
    expect(info.error).toMatch(
      /egress handler crashed with signal SIGKILL; what was recorded until then is kept/,
    );
    expect(info.errorCode).toBe(500);
    const probed = probe(info.fileResults[0]?.location ?? '');
    expect(probed).toMatchObject({ codecs: ['h264'], errors: '' });
    // A second at most is lost.
    expect(probed.frames).toBeGreaterThanOrEqual(45);
    expect(Number(info.fileResults[0]?.duration) / 1e9).toBeGreaterThan(1.4);
    await node.stop(neighbour.egressId);
    await node.reached(neighbour.egressId, EGRESS_COMPLETE);
    expect(probe(path.join(node.folder, neighbourFile)).frames).toBe(90);
    await to.unpublish();
  });

  it('fails with not_found when nobody publishes the track in time', async () => {
    const { egressId, started } = record('TR_nobody', 'x.mp4');
    await started;
    const info = await node.reached(egressId, EGRESS_FAILED);
    expect(info).toMatchObject({
      error: 'track TR_nobody not found',
      errorCode: 404,
      details: 'End reason: Failure',
    });
  });

  it('is aborted when it is stopped before media flows', async () => {
    const { egressId, started } = record('TR_later', 'x.mp4');
    await started;
    await node.stop(egressId);
    const info = await node.reached(egressId, EGRESS_ABORTED);
    expect(info).toMatchObject({
      errorCode: 412,
      details: 'End reason: Stop called before pipeline could start',
    });
  });

  it('ends with what it has when the room is deleted', async () => {
    const room = freshName('short');
    const egressId = freshName('EG_short');
    const bob = await join('bob', room);
    const to = await publish(tracks.opus, bob);
    const value = new TrackEgressRequest({
      roomName: room,
      trackId: to.trackSid,
      output: { case: 'file', value: new DirectFileOutput({ filepath: `${room}.ogg` }) },
    });
    await node.start(egressId, room, { case: 'track', value });
    await node.reached(egressId, EGRESS_ACTIVE);
    await play(tracks.opus, to, 50);
    await server.bus.request(RoomInternal.deleteRoom, { room });
    await node.reached(egressId, EGRESS_COMPLETE);
    expect(probe(path.join(node.folder, `${room}.ogg`)).frames).toBeGreaterThan(30);
    await bob.close('test over');
  });
});

describe('what is refused before it starts', () => {
  it('an unwritable path, with the path and the reason', async () => {
    await writeFile(path.join(node.folder, 'a-file'), '');
    const { egressId, started } = record('TR_x', 'a-file/below/x.mp4');
    await expect(started).rejects.toMatchObject({
      code: 'permission_denied',
      message: /cannot write ".*a-file\/below.*ENOTDIR/,
    });
    expect(node.history(egressId)).toEqual([EGRESS_STARTING, EGRESS_FAILED]);
  });

  it('a path out of the recordings folder', async () => {
    await expect(record('TR_x', 'a/../../../etc/x.mp4').started).rejects.toMatchObject({
      code: 'invalid_argument',
      message: /leaves the recordings folder/,
    });
  });

  it('a bucket that cannot be reached, without repeating the secret', async () => {
    const { egressId, started } = record('TR_x', 'x.mp4', {
      output: {
        case: 's3',
        value: new S3Upload({
          accessKey: 'AKIATEST',
          secret: 'do-not-tell',
          bucket: 'nowhere',
          endpoint: 'http://127.0.0.1:9',
          forcePathStyle: true,
        }),
      },
    });
    await expect(started).rejects.toMatchObject({
      code: 'invalid_argument',
      message: /S3 upload failed: bucket nowhere at http:\/\/127.0.0.1:9: .*ECONNREFUSED/,
    });
    const info = await node.reached(egressId, EGRESS_FAILED);
    expect(info.errorCode).toBe(400);
    expect(JSON.stringify(info.toJson())).not.toContain('do-not-tell');
  });

  it('what this version does not do, by name', async () => {
    const value = new TrackEgressRequest({
      trackId: 'TR_x',
      output: { case: 'websocketUrl', value: 'ws://x' },
    });
    await expect(node.start(freshName('EG_ws'), 'studio', { case: 'track', value })).rejects.toMatchObject({
      code: 'unimplemented',
      message: /websocket_url/,
    });
  });
});

it('finishes running recordings when the service closes, and takes no new ones', async () => {
  const to = await publish(tracks.h264);
  const file = `${freshName('drained')}.mp4`;
  const { egressId, started } = record(to.trackSid, file);
  await started;
  await node.reached(egressId, EGRESS_ACTIVE);
  await play(tracks.h264, to, 60);
  await node.service.close('shutdown');
  onTestFinished(async () => {
    // A second try needs a service.
    await node.close();
    node = await startEgressNode(server, { trackWaitMs: 2_000 });
  });
  const info = await node.reached(egressId, EGRESS_COMPLETE);
  expect(info.details).toBe('End reason: Process killed');
  expect(probe(path.join(node.folder, file)).frames).toBeGreaterThanOrEqual(45);
  expect(node.service.jobs()).toEqual([]);
  await expect(record(to.trackSid, 'late.mp4').started).rejects.toMatchObject({ code: 'unavailable' });
});
