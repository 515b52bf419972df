import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import {
  AccessToken,
  DirectFileOutput,
  EgressStatus,
  EncodedFileOutput,
  S3Upload,
  type EgressInfo,
} from 'livekit-server-sdk';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROOM, startPublishedRoom, until, type PublishedRoom } from '../support/published-room.ts';
import { pushFile } from '../support/rtmp-push.ts';
import { API_KEY, API_SECRET } from '../support/sluice-process.ts';

/** What people get wrong: each case is answered with LiveKit's code and a reason, and disturbs nobody else. */
describe('bad input', () => {
  let studio: PublishedRoom | undefined;
  let deadPage: Server | undefined;
  /** Two jobs that wait their full time, in the background of the other tests. */
  const slow = new Map<keyof typeof SLOW, ReturnType<typeof outcome>>();
  const use = (): PublishedRoom => studio ?? expect.fail('the room did not start');
  const SLOW = {
    noTrack: () =>
      use().egress.startTrackEgress(ROOM, new DirectFileOutput({ filepath: 'x.mp4' }), 'TR_nobody'),
    noStart: () =>
      use().egress.startRoomCompositeEgress(
        ROOM,
        { file: file('silent.mp4') },
        { customBaseUrl: `http://127.0.0.1:${(deadPage?.address() as AddressInfo).port}/` },
      ),
  };

  beforeAll(async () => {
    studio = await startPublishedRoom();
    const server = createServer((_request, response) => {
      response.setHeader('content-type', 'text/html');
      response.end('<h1>This page never says START_RECORDING</h1>');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    deadPage = server;
    (['noTrack', 'noStart'] as const).forEach((name) => slow.set(name, outcome(SLOW[name]())));
  }, 240_000);
  afterAll(async () => {
    deadPage?.closeAllConnections();
    deadPage?.close();
    await studio?.close();
  });

  const file = (filepath: string): EncodedFileOutput => new EncodedFileOutput({ filepath });

  /** The end of a job: the answer itself when it was refused at once, else its last record. */
  const outcome = async (start: Promise<EgressInfo>): Promise<{ code: string; message: string }> => {
    let info: EgressInfo;
    try {
      info = await start;
    } catch (error) {
      const { code, message } = error as { code?: string; message: string };
      return { code: code ?? 'none', message };
    }
    const ended = await until(100_000, 'the end of the job', async () => {
      const [latest] = await use().egress.listEgress({ egressId: info.egressId });
      return latest !== undefined && latest.status >= EgressStatus.EGRESS_COMPLETE ? latest : undefined;
    });
    return { code: `${EgressStatus[ended.status]} ${ended.errorCode}`, message: ended.error };
  };

  /** What was begun in the background; a second try begins it again. */
  const endOf = (name: keyof typeof SLOW): ReturnType<typeof outcome> => {
    const begun = slow.get(name);
    slow.delete(name);
    return begun ?? outcome(SLOW[name]());
  };

  /** Whatever happened before: the stream still flows and a recording still works. */
  const expectUndisturbed = async (): Promise<void> => {
    const participants = await use().rooms.listParticipants(ROOM);
    expect(participants.find(({ identity }) => identity === 'obs')?.tracks).toHaveLength(2);
    expect(use().sluice.log()).not.toMatch(/uncaught|unhandled/i);
  };

  it('refuses a wrong stream key, and the encoder is told', async () => {
    const push = pushFile(use().fixture, use().rtmpUrl('not-a-key-anybody-made'));
    const { code } = await push.ended;
    expect(code).not.toBe(0);
    expect(use().sluice.log()).not.toContain('not-a-key-anybody-made');
    await expectUndisturbed();
  });

  it('refuses a room that does not exist', async () => {
    expect(await outcome(use().egress.startRoomCompositeEgress('nowhere', { file: file('x.mp4') }))).toEqual({
      code: 'not_found',
      message: 'requested room does not exist',
    });
  });

  it('refuses a token without roomRecord', async () => {
    const token = new AccessToken(API_KEY, API_SECRET, { identity: 'x' });
    token.addGrant({ roomJoin: true, roomAdmin: true, roomList: true, room: ROOM });
    const answer = await fetch(`${use().sluice.apiUrl}/twirp/livekit.Egress/StartRoomCompositeEgress`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${await token.toJwt()}` },
      body: JSON.stringify({ room_name: ROOM, file_outputs: [{ filepath: 'x.mp4' }] }),
    });
    expect([answer.status, await answer.json()]).toEqual([
      401,
      { code: 'unauthenticated', msg: 'permissions denied' },
    ]);
  });

  it.each([
    ['application/json', '{"room_name": "studio", "file_outputs": ['],
    ['application/json', '"just text"'],
    ['application/protobuf', Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f])],
  ])('refuses a malformed %s body', async (type, body) => {
    const token = new AccessToken(API_KEY, API_SECRET, { identity: 'x' });
    token.addGrant({ roomRecord: true });
    const answer = await fetch(`${use().sluice.apiUrl}/twirp/livekit.Egress/StartRoomCompositeEgress`, {
      method: 'POST',
      headers: { 'content-type': type, authorization: `Bearer ${await token.toJwt()}` },
      body,
    });
    expect(answer.status).toBe(400);
    expect(((await answer.json()) as { code: string }).code).toBe('malformed');
    await expectUndisturbed();
  });

  it('refuses a path that cannot be written, before it records anything', { timeout: 60_000 }, async () => {
    await mkdir(use().sluice.recordingsDir, { recursive: true });
    await writeFile(path.join(use().sluice.recordingsDir, 'a-file'), '');
    const { code, message } = await outcome(
      use().egress.startTrackEgress(ROOM, new DirectFileOutput({ filepath: 'a-file/x.mp4' }), use().videoSid),
    );
    expect(code).toMatch(/permission_denied|invalid_argument/);
    expect(message).toContain('a-file');
    await expectUndisturbed();
  });

  it(
    'refuses storage that does not answer, naming the bucket and no secret',
    { timeout: 90_000 },
    async () => {
      const s3 = new S3Upload({
        accessKey: 'key',
        secret: 'THE-SECRET-VALUE',
        bucket: 'no-such-bucket',
        endpoint: 'http://127.0.0.1:9',
        forcePathStyle: true,
        region: 'us-east-1',
      });
      const { code, message } = await outcome(
        use().egress.startTrackEgress(
          ROOM,
          new DirectFileOutput({ filepath: 'x.mp4', output: { case: 's3', value: s3 } }),
          use().videoSid,
        ),
      );
      expect(code).toMatch(/invalid_argument|unavailable|EGRESS_FAILED (400|503)/);
      expect(message).toContain('no-such-bucket');
      expect(message + use().sluice.log()).not.toContain('THE-SECRET-VALUE');
      await expectUndisturbed();
    },
  );

  it('refuses a track that does not exist', { timeout: 120_000 }, async () => {
    const { code, message } = await endOf('noTrack');
    expect(code).toMatch(/not_found|EGRESS_FAILED 404|EGRESS_ABORTED 404/);
    expect(message).toContain('TR_nobody');
  });

  it('aborts a composite whose page never gives the start signal', { timeout: 150_000 }, async () => {
    const { code, message } = await endOf('noStart');
    expect(code).toBe('EGRESS_ABORTED 412');
    expect(message).toContain('Start signal not received');
    await expectUndisturbed();
  });

  it('fails a composite whose custom_base_url does not answer', { timeout: 120_000 }, async () => {
    const { code, message } = await outcome(
      use().egress.startRoomCompositeEgress(
        ROOM,
        { file: file('unreachable.mp4') },
        { customBaseUrl: 'http://127.0.0.1:9/layout' },
      ),
    );
    expect(code).toMatch(/invalid_argument|EGRESS_(FAILED|ABORTED) 400/);
    expect(message).toContain('http://127.0.0.1:9/layout');
    await expectUndisturbed();
  });

  it('left no file and no process of the failed jobs', async () => {
    // The live stream keeps its own ffmpeg, and a spare handler waits for the next job.
    const ofJobs = async (): Promise<unknown[]> =>
      (await use().sluice.descendants()).filter(({ command }) => /egress-handler EG_|chrom/.test(command));
    await expect.poll(ofJobs, { timeout: 30_000 }).toEqual([]);
    expect((await readdir(use().sluice.recordingsDir)).filter((name) => name.endsWith('.mp4'))).toEqual([]);
  });
});
