import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { IngressState_Status } from '@livekit/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { reportOf } from '../support/fake-room-report.ts';
import { FfmpegEncoder } from '../support/ffmpeg-encoder.ts';
import { freshName } from '../support/fresh-name.ts';
import type { FlashBeepReport } from '../support/flash-beep.ts';
import { startNginxRtmp, type NginxRtmp } from '../support/nginx-rtmp.ts';
import { freePort } from '../support/ports.ts';
import { startRtspServer, type RtspServer } from '../support/rtsp-server.ts';
import { untilUdpBound } from '../support/srt-receiver.ts';
import { startTlsFront } from '../support/tls-front.ts';
import { CLIP, makeClips, makePlaylist } from '../support/url-clips.ts';
import { endOf, playToEnd, startUrl, startUrlHarness, type Played } from '../support/url-play.ts';
import { ENDPOINT_ERROR, ENDPOINT_PUBLISHING } from '../support/ingress-harness.ts';
import { startWebFolder } from '../support/web-folder.ts';

const { ENDPOINT_COMPLETE } = IngressState_Status;
const SECONDS = 5;
const MAX_SKEW_MS = 40;

const S3 = {
  ...{ accessKey: 'key', secret: 'secret', sessionToken: '', region: 'us-east-1' },
  ...{ endpoint: '', forcePathStyle: true, buckets: [] },
};

let dir: string;
let rtsp: RtspServer;
let nginx: NginxRtmp;

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'sluice-url-live-'));
  await makeClips(dir, ['clip.mp4', 'clip.ts'], SECONDS);
  await makePlaylist(dir, 'clip.mp4', 'clip.m3u8');
  [rtsp, nginx] = await Promise.all([startRtspServer([path.join(dir, 'clip.mp4')]), startNginxRtmp()]);
}, 240_000);

afterAll(async () => {
  await Promise.all([rtsp.close(), nginx.close()]);
  await rm(dir, { recursive: true, force: true });
});

/** @param missing pictures a live stream may have lost before anybody listened. */
async function expectClip({ harness, end }: Played, missing: number, maxSkewMs = MAX_SKEW_MS): Promise<void> {
  expect([end.status, end.error]).toEqual([ENDPOINT_COMPLETE, '']);
  expect(harness.room.attributes['sluice.ingress.video']).toBe('passthrough');
  const report = await reportOf(harness.room);
  expect(report).toMatchObject({ reordered: 0, skipped: 0 });
  expect(report.frames).toBeGreaterThanOrEqual(CLIP.framesPerSecond * SECONDS - missing);
  expect(report.flashesS.length).toBeGreaterThanOrEqual(2);
  expect(report.beepsS.length).toBeGreaterThanOrEqual(2);
  expectInStep(report, maxSkewMs);
}

/**
 * What had been stored before anybody listened is squeezed together; what comes behind it tells. Several streams are played
 * at once here: one flash may come late, the clock behind it may not.
 */
function expectInStep({ offsetsMs }: FlashBeepReport, maxSkewMs: number): void {
  const last = offsetsMs.slice(-2).map(Math.abs);
  const measured = JSON.stringify(offsetsMs);
  expect(Math.min(...last), measured).toBeLessThanOrEqual(maxSkewMs);
  expect(Math.max(...last), measured).toBeLessThanOrEqual(120);
}

/** A stream of the clip in real time over SRT, for one caller. */
async function serveSrt(
  options: { query?: string; input?: string[] } = {},
): Promise<{ port: number; peer: FfmpegEncoder }> {
  const port = await freePort();
  const peer = new FfmpegEncoder([
    ...(options.input ?? ['-re', '-i', path.join(dir, 'clip.ts'), '-c', 'copy']),
    ...['-f', 'mpegts', `srt://127.0.0.1:${port}?mode=listener${options.query ?? ''}`],
  ]);
  await untilUdpBound(port);
  return { port, peer };
}

describe.concurrent('a live URL', () => {
  it('SRT: calls, and is complete when the peer has ended', async () => {
    const { port } = await serveSrt({ query: '&passphrase=correct-horse' });
    await expectClip(await playToEnd(`srt://127.0.0.1:${port}?passphrase=correct-horse&latency=80`), 30);
  });

  it('SRT with codecs no room takes: converted on the way, opened only once', async () => {
    const input = ['-re', '-i', path.join(dir, 'clip.ts'), '-c:v', 'mpeg2video', '-q:v', '2', '-c:a', 'mp2'];
    const { port } = await serveSrt({ input });
    const { harness, end } = await playToEnd(`srt://127.0.0.1:${port}`);
    expect([end.status, end.error]).toEqual([ENDPOINT_COMPLETE, '']);
    const report = await reportOf(harness.room);
    expect(report.flashesS.length).toBeGreaterThanOrEqual(2);
    // The MP2 encoder of the peer puts 10 ms in front, and half a picture is what can be told.
    expectInStep(report, MAX_SKEW_MS + 10);
  });

  it('RTSP from GStreamer, media on the same connection', async () => {
    // RTP knows no edit list: the 21 ms that AAC encoders put in front are heard.
    await expectClip(await playToEnd(rtsp.url('clip.mp4')), 5, MAX_SKEW_MS + 21);
  });

  it('RTMP from nginx, without ffmpeg', async () => {
    const key = freshName('pulled');
    const publisher = new FfmpegEncoder([
      ...['-re', '-i', path.join(dir, 'clip.mp4'), '-c', 'copy', '-f', 'flv', nginx.url(key)],
    ]);
    await nginx.publishing(key);
    const played = await playToEnd(nginx.url(key));
    await publisher.exited;
    await expectClip(played, 75);
  });
});

describe.concurrent('TLS in front of a server', () => {
  it('RTSPS: plays with the authority of the configuration', async () => {
    const front = await startTlsFront(rtsp.port);
    const url = `rtsps://localhost:${front.port}/clip.mp4`;
    await expectClip(await playToEnd(url, { url: { tls: { ca: front.ca } } }), 5, MAX_SKEW_MS + 21);
    const { end } = await playToEnd(url);
    expect(end).toMatchObject({ status: ENDPOINT_ERROR });
    expect(end.error).toMatch(/cannot be reached: TLS failed: self-signed certificate/);
    await front.close();
  });

  it('RTMPS: plays with the authority of the configuration', async () => {
    const front = await startTlsFront(nginx.port);
    const key = freshName('secure');
    const publisher = new FfmpegEncoder([
      ...['-re', '-i', path.join(dir, 'clip.mp4'), '-c', 'copy', '-f', 'flv', nginx.url(key)],
    ]);
    await nginx.publishing(key);
    const url = `rtmps://localhost:${front.port}/${new URL(nginx.url(key)).pathname.slice(1)}`;
    const [played, refused] = await Promise.all([
      playToEnd(url, { url: { tls: { ca: front.ca } } }),
      playToEnd(url),
    ]);
    await publisher.exited;
    await expectClip(played, 75);
    expect(refused.end.error).toMatch(/cannot be reached: TLS failed: self-signed certificate/);
    await front.close();
  });

  it('HTTPS: plays a playlist with the authority of the configuration, or unverified', async () => {
    const web = await startWebFolder(dir);
    const front = await startTlsFront(Number(new URL(web.url).port));
    const url = `https://localhost:${front.port}/clip.m3u8`;
    const [trusted, unverified, refused] = await Promise.all([
      playToEnd(url, { url: { tls: { ca: front.ca } } }),
      playToEnd(url.replace('localhost', '127.0.0.1'), { url: { tls: { verify: false } } }),
      playToEnd(url),
    ]);
    await expectClip(trusted, 0);
    await expectClip(unverified, 0);
    expect(refused.end).toMatchObject({ status: ENDPOINT_ERROR });
    expect(refused.end.error).toMatch(
      /^localhost:\d+ cannot be reached: TLS failed: self-signed certificate/,
    );
    await Promise.all([front.close(), web.close()]);
  });

  it('HTTPS: segments are verified like their playlist', async () => {
    const web = await startWebFolder(dir);
    const [front, other] = await Promise.all([1, 2].map(() => startTlsFront(Number(new URL(web.url).port))));
    const list = (await readFile(path.join(dir, 'clip.m3u8'), 'utf8')).replaceAll(
      /^clip\d/gm,
      `https://localhost:${other?.port}/$&`,
    );
    await writeFile(path.join(dir, 'elsewhere.m3u8'), list);
    const url = `https://localhost:${front?.port}/elsewhere.m3u8`;
    const { end } = await playToEnd(url, { url: { tls: { ca: front?.ca ?? '' } } });
    expect(end).toMatchObject({ status: ENDPOINT_ERROR });
    expect(end.error).toMatch(/TLS failed: self-signed certificate/);
    await Promise.all([front?.close(), other?.close(), web.close()]);
  });
});

describe.concurrent('a live URL that leads elsewhere', () => {
  /** A server that answers every RTSP request with a redirect. */
  async function redirecting(to: string): Promise<{ port: number; close: () => void }> {
    const server = createServer((socket) => {
      socket.on('error', () => socket.destroy());
      socket.on('data', () => {
        socket.write(`RTSP/1.0 302 Moved\r\nCSeq: 1\r\nLocation: ${to}\r\n\r\n`);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return { port: (server.address() as AddressInfo).port, close: () => server.close() };
  }

  it('RTSP: a redirect is checked like a new address', async () => {
    const inside = await redirecting('rtsp://169.254.169.254/clip.mp4');
    const refused = await playToEnd(`rtsp://127.0.0.1:${inside.port}/x`);
    expect(refused.end).toMatchObject({ status: ENDPOINT_ERROR });
    expect(refused.end.error).toMatch(/^169\.254\.169\.254 is in a private network/);
    inside.close();
    const allowed = await redirecting(rtsp.url('clip.mp4'));
    const harness = await startUrlHarness();
    await startUrl(harness, `rtsp://127.0.0.1:${allowed.port}/x`);
    await harness.stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
    await harness.close();
    allowed.close();
  });

  it.each([
    ...['srt://127.0.0.1:9', 'rtsp://127.0.0.1/x', 'rtsps://localhost/x', 'rtmp://127.0.0.1/live/x'],
    ...['rtmps://169.254.169.254/live/x', 'rtsp://[::1]/x', 's3://clips/inside.mp4', 'http://127.0.0.1/x'],
  ])('%s is refused when its address is private', async (url) => {
    const s3 = { ...S3, endpoint: 'http://127.0.0.1:9' };
    const harness = await startUrlHarness({ url: { allowAddresses: [], s3 } });
    await expect(startUrl(harness, url)).rejects.toMatchObject({ code: 'permission_denied' });
    expect(harness.states).toEqual([]);
    await harness.close();
  });

  it.each(['sluice_loop=2', 'sluice_start=1', 'sluice_hold=1'])('%s is for recordings', async (option) => {
    const harness = await startUrlHarness();
    await expect(startUrl(harness, `srt://127.0.0.1:9#${option}`)).rejects.toMatchObject({
      code: 'invalid_argument',
    });
    await harness.close();
  });
});

describe.concurrent('a live URL that cannot be played', () => {
  it('SRT: nobody there, a wrong passphrase', async () => {
    const nobody = await playToEnd(`srt://127.0.0.1:${await freePort()}`);
    expect(nobody.end).toMatchObject({ status: ENDPOINT_ERROR });
    expect(nobody.end.error).toMatch(/^the URL cannot be played: /);
    const { port, peer } = await serveSrt({ query: '&passphrase=correct-horse' });
    const wrong = await playToEnd(`srt://127.0.0.1:${port}?passphrase=battery-staple`);
    expect(wrong.end.status).toBe(ENDPOINT_ERROR);
    expect(wrong.end.error).not.toContain('battery-staple');
    peer.kill('SIGKILL');
  });

  it('SRT: a peer that vanishes is an error, and nothing else stays', async () => {
    const input = ['-re', '-stream_loop', '-1', '-i', path.join(dir, 'clip.ts'), '-c', 'copy'];
    const { port, peer } = await serveSrt({ input });
    const harness = await startUrlHarness();
    await startUrl(harness, `srt://127.0.0.1:${port}`);
    await harness.stateThat(({ status }) => status === ENDPOINT_PUBLISHING);
    peer.kill('SIGKILL');
    const end = await endOf(harness);
    expect(end).toMatchObject({ status: ENDPOINT_ERROR });
    expect(end.error).toMatch(/^the URL cannot be played: srt:.*Input\/output error$/);
    await harness.close();
    expect(harness.ingress.activeIngressIds()).toEqual([]);
  });

  it('RTSP: no such stream, nobody there', async () => {
    const none = await playToEnd(`rtsp://127.0.0.1:${rtsp.port}/none`);
    expect(none.end).toMatchObject({ status: ENDPOINT_ERROR });
    expect(none.end.error).toMatch(/404/);
    const nobody = await playToEnd(`rtsp://127.0.0.1:${await freePort()}/none`);
    expect(nobody.end.error).toMatch(/cannot be reached: connection refused/);
  });

  it('RTMP: nobody there, and a stream nobody publishes', async () => {
    const nobody = await playToEnd(`rtmp://127.0.0.1:${await freePort()}/live/x`);
    expect(nobody.end.error).toMatch(/cannot be reached: connection refused/);
    const silent = await playToEnd(nginx.url('nobody'), { url: { stallMs: 1_500 } });
    expect(silent.end).toMatchObject({
      status: ENDPOINT_ERROR,
      error: '127.0.0.1 has sent nothing for 1.5 s',
    });
  });
});
