import { statSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { StreamInfo } from '@livekit/protocol';
import { StreamInfo_Status as Status } from '@livekit/protocol';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Logger } from '../../services/base/logger.ts';
import {
  StreamGroup,
  type StreamGroupOptions,
  type StreamsEnd,
} from '../../services/egress/outputs/stream-group.ts';
import { ffmpeg, FfmpegEncoder } from '../support/ffmpeg-encoder.ts';
import { packetHashes } from '../support/ffprobe.ts';
import { analyzeFlashBeep } from '../support/flash-beep.ts';
import { freshName } from '../support/fresh-name.ts';
import { codedPictures, type CodedPicture } from '../support/nal-hashes.ts';
import { startNginxRtmp, type NginxRtmp } from '../support/nginx-rtmp.ts';
import { freePort } from '../support/ports.ts';
import { startNodeMediaPlatform } from '../support/node-media-platform.ts';
import { flashBeepPackets, playPackets, type FlashBeepPackets } from '../support/packet-feed.ts';
import { untilUdpBound } from '../support/srt-receiver.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import { startTlsFront } from '../support/tls-front.ts';

const SECONDS = 6;
/** Less is a header and what describes the stream. */
const MIN_FLV_BYTES = 2_000;
/** Short, so that a test of the budgets takes seconds. */
const FAST = { openMs: 1_500, stallMs: 1_000, reconnectMs: 4_000 };

let nginx: NginxRtmp;
let clip: FlashBeepPackets;
let workDir: string;
const cleanups: (() => Promise<unknown>)[] = [];
let lines: string[] = [];
/** Stream key of this try. */
let secret = '';

beforeAll(async () => {
  [nginx, clip, workDir] = await Promise.all([
    startNginxRtmp(),
    flashBeepPackets({ seconds: SECONDS, width: 320, height: 180 }),
    mkdtemp(path.join(tmpdir(), 'sluice-streams-')),
  ]);
});

beforeEach(() => {
  lines = [];
  secret = `sk-${freshName('very-secret')}-key`;
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) {
    await cleanup();
  }
  // Whatever happened in a test, no key may be in what was said about it.
  expect(lines.join('\n')).not.toContain(secret);
});

afterAll(async () => {
  await nginx.close();
  await clip.remove();
  await rm(workDir, { recursive: true, force: true });
});

type Watched = {
  group: StreamGroup;
  /** Newest state of each destination. */
  results: () => StreamInfo[];
  until: (condition: (results: StreamInfo[]) => boolean) => Promise<void>;
  empty: Promise<StreamsEnd>;
};

function startGroup(urls: string[], options: Partial<StreamGroupOptions> = {}): Watched {
  const waiting = new Set<() => void>();
  let resolveEmpty: (end: StreamsEnd) => void = () => undefined;
  const empty = new Promise<StreamsEnd>((resolve) => {
    resolveEmpty = resolve;
  });
  const group = new StreamGroup({
    protocol: 'rtmp',
    urls,
    kinds: ['video', 'audio'],
    ffmpegPath: 'ffmpeg',
    workDir,
    logger: recordingLogger(),
    onChange: (results) => {
      lines.push(JSON.stringify(results.map((result) => result.toJson())));
      for (const check of [...waiting]) {
        check();
      }
    },
    onEmpty: (end) => {
      lines.push(end.reason === 'failure' ? end.error.message : end.reason);
      resolveEmpty(end);
    },
    onRefused: (error) => {
      throw error;
    },
    ...options,
  });
  for (const format of clip.formats) {
    group.addTrack(format);
  }
  cleanups.push(() => group.close('test over'));
  const until = (condition: (results: StreamInfo[]) => boolean): Promise<void> =>
    new Promise((resolve) => {
      const check = (): void => {
        if (condition(group.results)) {
          waiting.delete(check);
          resolve();
        }
      };
      waiting.add(check);
      check();
    });
  return { group, results: () => group.results, until, empty };
}

/** Keeps what is logged before the logger's own redaction. */
function recordingLogger(): Logger {
  const log = (fields: Record<string, unknown>, text: string): void => {
    const error = fields['err'] instanceof Error ? fields['err'].message : '';
    lines.push(`${text} ${error} ${JSON.stringify(fields)}`);
  };
  const logger = { debug: log, info: log, warn: log, error: log, child: () => logger };
  return logger as unknown as Logger;
}

const isConnected = (results: StreamInfo[]): boolean => results.every(({ startedAt }) => startedAt > 0n);

function play(group: StreamGroup): Promise<void> {
  return playPackets(clip.packets, (packet) => {
    group.write(packet);
  });
}

/** Every picture and sound of the clip, bit by bit, and in step when decoded. */
async function expectWhole(file: string): Promise<void> {
  const [sent, received] = await Promise.all([codedPictures(clip.file), codedPictures(file)]);
  expect(received).toEqual(sent);
  // Sound before the first picture stays behind; the hash of a first packet covers what its container says about it.
  const [sentSound, sound] = [await packetHashes(clip.file, 'audio'), await packetHashes(file, 'audio')];
  expect(sound.length).toBeGreaterThanOrEqual(sentSound.length - 1);
  expect(sound.slice(1)).toEqual(sentSound.slice(1 - sound.length));
  const report = await analyzeFlashBeep(file);
  expect(report).toMatchObject({ frames: SECONDS * clip.framesPerSecond, skipped: 0, reordered: 0 });
  expect(report.flashesS).toHaveLength(SECONDS - 1);
  expect(Math.abs(report.medianOffsetMs)).toBeLessThan(40);
}

/** A server on this machine that does what `onSocket` says. */
async function startPeer(onSocket: (socket: Socket) => void): Promise<{ port: number; server: Server }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    onSocket(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(async () => {
    for (const socket of sockets) {
      socket.destroy();
    }
    await new Promise((resolve) => server.close(resolve));
  });
  return { port: (server.address() as AddressInfo).port, server };
}

describe('one encode to several platforms', () => {
  it('arrives whole at nginx, at node-media-server and through TLS', async () => {
    const [media, front] = await Promise.all([startNodeMediaPlatform(), startTlsFront(nginx.port)]);
    cleanups.push(
      () => media.close(),
      () => front.close(),
    );
    const { group, until, results } = startGroup(
      [nginx.url(secret), media.url('node-media'), `rtmps://localhost:${front.port}/live/tls-${secret}`],
      { ca: front.ca },
    );
    await until(isConnected);
    await play(group);
    await group.finish();
    expect(results().map(({ status, error, retries }) => ({ status, error, retries }))).toEqual(
      Array.from({ length: 3 }, () => ({ status: Status.FINISHED, error: '', retries: 0 })),
    );
    expect(results().map(({ url }) => url)).toEqual([
      `rtmp://127.0.0.1:${nginx.port}/live/{sk-...key}`,
      `rtmp://127.0.0.1:${media.port}/live/{nod...dia}`,
      `rtmps://localhost:${front.port}/live/{tls...key}`,
    ]);
    for (const { startedAt, endedAt, duration } of results()) {
      expect(duration).toBe(endedAt - startedAt);
      expect(Number(duration) / 1e9).toBeGreaterThan(SECONDS - 1);
    }
    await expectWhole(await nginx.recorded(secret));
    await expectWhole(await media.recorded('node-media'));
    await expectWhole(await nginx.recorded(`tls-${secret}`));
  });

  it('goes out over SRT, encrypted and with its options in no command line', async () => {
    const port = await freePort();
    const file = path.join(workDir, `${freshName('srt')}.ts`);
    const receiver = new FfmpegEncoder([
      ...['-i', `srt://127.0.0.1:${port}?mode=listener&passphrase=${secret}&pbkeylen=16`],
      ...['-c', 'copy', file],
    ]);
    cleanups.push(() => {
      receiver.kill('SIGKILL');
      return receiver.exited;
    });
    await untilUdpBound(port);
    const url = `srt://127.0.0.1:${port}?streamid=publish:${secret}&passphrase=${secret}&pbkeylen=16&latency=200`;
    const { group, results } = startGroup([url], { protocol: 'srt' });
    await play(group);
    await group.finish();
    expect(results()[0]).toMatchObject({
      status: Status.FINISHED,
      error: '',
      url: `srt://127.0.0.1:${port}?streamid=[redacted]&passphrase=[redacted]&pbkeylen=16&latency=200`,
    });
    await receiver.exited;
    const recording = `${file}.mp4`;
    await ffmpeg(['-i', file, '-c', 'copy', recording]);
    const report = await analyzeFlashBeep(recording);
    expect(report).toMatchObject({ skipped: 0, reordered: 0 });
    expect(report.frames).toBeGreaterThan((SECONDS - 1) * clip.framesPerSecond);
    expect(Math.abs(report.medianOffsetMs)).toBeLessThan(40);
  });
});

describe('a destination that fails', () => {
  it('is FAILED with the reason, and all others get every frame', async () => {
    const tls = await startTlsFront(nginx.port);
    cleanups.push(() => tls.close());
    const garbage = await startPeer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    const silent = await startPeer((socket) => socket.pause());
    const bad: [url: string, reason: RegExp][] = [
      [`rtmp://127.0.0.1:${await freePort()}/live/${secret}`, /connection refused/],
      [`rtmp://no-such-host.invalid/live/${secret}`, /no-such-host\.invalid:1935 .*host name/],
      [nginx.url(`refused-${secret}`), /127\.0\.0\.1 .*publish/],
      [`rtmp://127.0.0.1:${garbage.port}/live/${secret}`, /does not speak RTMP/],
      [`rtmp://127.0.0.1:${silent.port}/live/${secret}`, /did not answer within 1\.5 s \(handshake\)/],
      [`rtmps://localhost:${tls.port}/live/${secret}`, /TLS failed: self.signed/i],
    ];
    const good = freshName('good');
    const urls = [nginx.url(good), ...bad.map(([url]) => url)];
    const { group, until, results } = startGroup(urls, { timeouts: FAST });
    await until((all) => all[0]?.startedAt !== 0n);
    const playing = play(group);
    await until((all) => all.filter(({ status }) => status === Status.FAILED).length === bad.length);
    bad.forEach(([, reason], index) => {
      expect(results()[index + 1]).toMatchObject({
        retries: 0,
        error: expect.stringMatching(reason) as string,
      });
    });
    await playing;
    await group.finish();
    expect(results()[0]).toMatchObject({ status: Status.FINISHED, error: '' });
    await expectWhole(await nginx.recorded(good));
  });

  it('ends the group when it was the last', async () => {
    const { empty, results } = startGroup([`rtmp://127.0.0.1:${await freePort()}/live/${secret}`]);
    const end = await empty;
    expect(end).toMatchObject({ reason: 'failure', error: { code: 'unavailable', blame: 'destination' } });
    expect(results()[0]).toMatchObject({ status: Status.FAILED, retries: 0 });
  });

  it('fails over SRT with the reason', async () => {
    const { group, empty } = startGroup([`srt://127.0.0.1:${await freePort()}?streamid=${secret}`], {
      protocol: 'srt',
    });
    const playing = play(group);
    expect(await empty).toMatchObject({
      reason: 'failure',
      error: { message: expect.stringMatching(/cannot be reached over SRT/) as string },
    });
    await playing;
  });

  it('is named when ffmpeg does not know SRT', async () => {
    const program = path.join(workDir, 'ffmpeg-without-srt');
    await writeFile(program, '#!/bin/sh\necho "srt://h:1: Protocol not found" >&2\nexit 1\n', {
      mode: 0o755,
    });
    const { empty } = startGroup(['srt://127.0.0.1:9000'], { protocol: 'srt', ffmpegPath: program });
    expect(await empty).toMatchObject({
      error: { message: expect.stringMatching(/need an ffmpeg that knows the protocol srt/) as string },
    });
  });
});

describe('a platform that goes away', () => {
  it('gets the rest of the stream when it comes back, and the other one all of it', async () => {
    const flaky = await startNginxRtmp();
    cleanups.push(() => flaky.close());
    const steady = freshName('steady');
    const { group, until, results } = startGroup([nginx.url(steady), flaky.url(secret)]);
    await until(isConnected);
    const playing = play(group);
    await until(() => flaky.files(secret).length > 0);
    await new Promise((resolve) => setTimeout(resolve, 2000)); // a stream that works, not one that never began
    await flaky.kill();
    await until((all) => (all[1]?.retries ?? 0) > 0);
    const again = flaky.publishing(secret);
    await flaky.restart();
    await again;
    await playing;
    await group.finish();
    expect(results()[1]?.retries).toBeGreaterThan(0);
    expect(results()[1]?.lastRetryAt).toBeGreaterThan(0n);
    expect(results().map(({ status }) => status)).toEqual([Status.FINISHED, Status.FINISHED]);
    await expectWhole(await nginx.recorded(steady));
    const second = await flaky.recorded(secret);
    const sent = await codedPictures(clip.file);
    const received = await codedPictures(second);
    expect(received[0]?.key).toBe(true);
    expect(received).toEqual(sent.slice(-received.length));
    expect(await analyzeFlashBeep(second)).toMatchObject({ skipped: 0, reordered: 0 });
  });

  it('fails when it stays away longer than the budget', async () => {
    const flaky = await startNginxRtmp();
    cleanups.push(() => flaky.close());
    const { group, until, empty } = startGroup([flaky.url(secret)], { timeouts: FAST });
    await until(isConnected);
    const playing = play(group);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    await flaky.kill();
    expect(await empty).toMatchObject({ reason: 'failure', error: { code: 'unavailable' } });
    await playing;
  });
});

describe('a network that does not keep up', () => {
  it('costs its own destination frames or the stream, and nobody else anything', async () => {
    const [wedged, slow] = await Promise.all([
      startTcpProxy(nginx.port),
      startTcpProxy(nginx.port, { bytesPerSecond: 1_500_000 }),
    ]);
    cleanups.push(
      () => wedged.close(),
      () => slow.close(),
    );
    const [fastKey, wedgedKey, slowKey] = [freshName('fast'), freshName('wedged'), freshName('slow')];
    const { group, until, results } = startGroup(
      [
        nginx.url(fastKey),
        `rtmp://127.0.0.1:${wedged.port}/live/${wedgedKey}`,
        `rtmp://127.0.0.1:${slow.port}/live/${slowKey}`,
      ],
      { timeouts: FAST },
    );
    await until(isConnected);
    await playPackets(clip.packets, (packet) => {
      group.write(packet);
    });
    wedged.wedge();
    // Far more than all buffers of the system between here and there.
    const rounds = 40;
    for (let round = 1; round <= rounds; round++) {
      await writeRound(group, round);
    }
    await until((all) => all[1]?.status === Status.FAILED);
    expect(results()[1]?.error).toMatch(/wedged|did not answer/);
    expect(results()[1]?.retries).toBeGreaterThan(0);
    expect(group.droppedMessages).toBeGreaterThan(0);
    await group.finish();
    expect(results()[0]).toMatchObject({ status: Status.FINISHED, error: '', retries: 0 });
    const sent = await codedPictures(clip.file);
    const fast = await codedPictures(await nginx.recorded(fastKey));
    expect(fast).toHaveLength(sent.length * (rounds + 1));
    expect(fast.slice(-sent.length)).toEqual(sent);
    await nginx.recorded(slowKey);
    expectGapsAtKeys(await picturesOfAll(nginx.files(slowKey)), sent);
  });
});

/** A connection that was given up and made anew leaves several recordings, the first of them maybe empty. */
async function picturesOfAll(files: string[]): Promise<CodedPicture[]> {
  const pictures: CodedPicture[] = [];
  for (const file of files.filter((name) => statSync(name).size > MIN_FLV_BYTES)) {
    pictures.push(...(await codedPictures(file)));
  }
  return pictures;
}

/** The clip once more behind itself, thirty times as fast as it plays. */
async function writeRound(group: StreamGroup, round: number): Promise<void> {
  const shiftUs = round * SECONDS * 1e6;
  for (const [index, packet] of clip.packets.entries()) {
    group.write({ ...packet, ptsUs: packet.ptsUs + shiftUs, dtsUs: packet.dtsUs + shiftUs });
    if (index % 20 === 0) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

/** Every picture follows the one sent before it, or is a key frame behind a gap. */
function expectGapsAtKeys(received: CodedPicture[], sent: CodedPicture[]): void {
  const indexOf = new Map(sent.map(({ hash }, index) => [hash, index]));
  let gaps = 0;
  for (let index = 1; index < received.length; index++) {
    const [before, now] = [received[index - 1], received[index]];
    const expected = ((indexOf.get(before?.hash ?? '') ?? Number.NaN) + 1) % sent.length;
    if (indexOf.get(now?.hash ?? '') !== expected) {
      gaps++;
      expect(now?.key).toBe(true);
    }
  }
  expect(gaps).toBeGreaterThan(0);
}
