import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { flashBeepInputs } from '../../fixtures/flash-beep.ts';
import { FLV_TAG } from '../../services/protocol/flv.ts';
import { enhancedBody, type TimedMessage } from '../support/enhanced-rtmp.ts';
import { reportOf } from '../support/fake-room-report.ts';
import { ffmpeg } from '../support/ffmpeg-encoder.ts';
import { messagesOf, oneAfterTheOther, publishMessages } from '../support/generated-encoder.ts';
import {
  ENDPOINT_ERROR,
  ENDPOINT_INACTIVE,
  ENDPOINT_PUBLISHING,
  startIngressHarness,
  STREAM_KEY,
  type IngressHarness,
} from '../support/ingress-harness.ts';

const PICTURE = { width: 320, height: 180, framesPerSecond: 30 };
const SECONDS = 4;
const MAX_SKEW_MS = 40;
const VIDEO = [
  ...['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-profile:v', 'baseline'],
  ...['-g', '30', '-pix_fmt', 'yuv420p'],
];
const run = promisify(execFile);

/** `muxer`: Debian's ffmpeg in FLV's own form, or FFmpeg 8 in that of Enhanced RTMP. */
const FILMS = {
  mp3: { muxer: 'ffmpeg', sound: ['-c:a', 'libmp3lame', '-ac', '2', '-ar', '44100'] },
  'mp3-low': { muxer: 'ffmpeg', sound: ['-c:a', 'libmp3lame', '-ac', '1', '-ar', '22050'] },
  pcm: { muxer: 'ffmpeg', sound: ['-c:a', 'pcm_s16le', '-ac', '2', '-ar', '44100'] },
  alaw: { muxer: 'ffmpeg', sound: ['-c:a', 'pcm_alaw', '-ac', '1', '-ar', '8000'] },
  mulaw: { muxer: 'ffmpeg', sound: ['-c:a', 'pcm_mulaw', '-ac', '1', '-ar', '8000'] },
  aac: { muxer: 'ffmpeg', sound: ['-c:a', 'aac', '-ac', '2', '-ar', '24000'] },
  speex: { muxer: 'ffmpeg', sound: ['-c:a', 'libspeex', '-ac', '1', '-ar', '16000'] },
  flac: { muxer: 'FFmpeg 8', sound: ['-c:a', 'flac', '-ac', '2', '-ar', '48000'] },
  ac3: { muxer: 'FFmpeg 8', sound: ['-c:a', 'ac3', '-ac', '2', '-ar', '48000'] },
  eac3: { muxer: 'FFmpeg 8', sound: ['-c:a', 'eac3', '-ac', '6', '-ar', '48000'] },
} as const;
type FilmName = keyof typeof FILMS;

let folder: string;
const films = new Map<FilmName, TimedMessage[]>();

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'sluice-sound-'));
  const source = flashBeepInputs({ ...PICTURE, realTime: false });
  await ffmpeg([...source, '-t', String(SECONDS), ...VIDEO, '-c:a', 'pcm_s16le', file('source.mkv')]);
  await Promise.all(
    (Object.keys(FILMS) as FilmName[]).map(async (name) => {
      const { muxer, sound } = FILMS[name];
      const encode = (out: string): Promise<unknown> =>
        ffmpeg(['-i', file('source.mkv'), '-c:v', 'copy', ...sound, file(out)]);
      if (muxer === 'FFmpeg 8') {
        await encode(`${name}.mkv`);
        const program = path.resolve('test/support/ffmpeg8-film.mjs');
        await run(process.execPath, [program, file(`${name}.mkv`), file(`${name}.flv`)]);
      } else {
        await encode(`${name}.flv`);
      }
      films.set(name, await messagesOf(file(`${name}.flv`)));
    }),
  );
});

afterAll(() => rm(folder, { recursive: true, force: true }));

function file(name: string): string {
  return path.join(folder, name);
}

function film(name: FilmName): TimedMessage[] {
  return films.get(name) ?? [];
}

/** Publishes to a node of its own until all was sent, or the test is done before. */
async function published(
  messages: readonly TimedMessage[],
  look: (harness: IngressHarness) => Promise<void>,
): Promise<IngressHarness> {
  const harness = await startIngressHarness();
  const encoder = await publishMessages(harness.ingress.rtmpPort, STREAM_KEY, messages);
  try {
    await look(harness);
  } finally {
    await encoder.stop();
    await harness.close();
  }
  return harness;
}

/** The picture has come to the end of the film, whatever a busy machine has left out. */
function untilSent({ room }: IngressHarness): Promise<void> {
  return room.until(() => {
    const packets = room.packets('video');
    return (packets.at(-1)?.ptsUs ?? 0) - (packets[0]?.ptsUs ?? 0) > (SECONDS - 0.15) * 1e6;
  });
}

/** Explicit signalling of SBR (ISO/IEC 14496-3 section 1.6.5): a core of 24 kHz that plays at 48 kHz. */
function asHeAac(messages: readonly TimedMessage[]): TimedMessage[] {
  const config = Buffer.from([0xaf, 0, 0x2b, 0x11, 0x88]);
  return messages.map((message) =>
    message.typeId === FLV_TAG.audio && message.payload[1] === 0 ? { ...message, payload: config } : message,
  );
}

describe.concurrent('sound becomes Opus, in step with the picture', () => {
  test.concurrent.each<[string, FilmName, string, number]>([
    ['MP3', 'mp3', 'mp3', 44_100],
    ['MP3 of half the rate', 'mp3-low', 'mp3', 22_050],
    ['PCM', 'pcm', 'pcm_s16le', 44_100],
    ['G.711 A-law', 'alaw', 'pcma', 8_000],
    ['G.711 µ-law', 'mulaw', 'pcmu', 8_000],
    ['FLAC from FFmpeg 8', 'flac', 'flac', 48_000],
    ['AC-3 from FFmpeg 8', 'ac3', 'ac3', 48_000],
    ['E-AC-3 5.1 from FFmpeg 8', 'eac3', 'eac3', 48_000],
    ['AAC whose configuration says HE-AAC', 'aac', 'aac', 48_000],
  ])('%s', async (_title, name, mime, sampleRate) => {
    const messages = name === 'aac' ? asHeAac(film(name)) : film(name);
    const { room, states } = await published(messages, untilSent);
    const report = await reportOf(room);
    expect(report).toMatchObject({ reordered: 0, skipped: 0 });
    expect(report.flashesS.length).toBeGreaterThanOrEqual(SECONDS - 1);
    expect(report.beepsS.length).toBeGreaterThanOrEqual(SECONDS - 1);
    expect(Math.abs(report.medianOffsetMs)).toBeLessThanOrEqual(MAX_SKEW_MS);
    const state = states.findLast(({ audio }) => audio !== undefined);
    expect(state?.audio).toMatchObject({ mimeType: `audio/${mime}`, sampleRate });
    expect(states.at(-1)).toMatchObject({ status: ENDPOINT_INACTIVE, error: '' });
  });
});

describe.concurrent('what nobody here decodes costs only its own track', () => {
  test('Speex: the picture goes on, and state and participant say why there is no sound', async () => {
    const reason = 'audio codec not supported: Speex; set the encoder to AAC';
    const { room } = await published(film('speex'), async (harness) => {
      await harness.stateThat(({ status, error }) => status === ENDPOINT_PUBLISHING && error === reason);
      await untilSent(harness);
    });
    expect(room.track('audio')).toBeUndefined();
    expect(room.attributes['sluice.ingress.refused']).toBe(reason);
  });

  test('a picture nobody knows: the sound goes on', async () => {
    const sound = film('mp3').filter(({ typeId }) => typeId === FLV_TAG.audio);
    const body = (packetType: number): Buffer =>
      enhancedBody({ kind: 'video', head: 0x10, fourCc: 'vvc1', packetType, data: Buffer.alloc(40) });
    const video = [0, 1, 1].map((packetType, index) => ({
      ...{ typeId: FLV_TAG.video, timestampMs: index * 33, payload: body(packetType) },
    }));
    const { room } = await published([...video, ...sound], async (harness) => {
      await harness.stateThat(
        ({ status, error }) => status === ENDPOINT_PUBLISHING && error.includes('codec "vvc1"'),
      );
      await harness.room.until(() => harness.room.packets('audio').length > 100);
    });
    expect(room.track('video')).toBeUndefined();
  });

  test('an encoder that is set right while it streams is heard, and the reason is gone', async () => {
    const start = film('speex').filter(({ timestampMs }) => timestampMs < 1_500);
    const { room } = await published(oneAfterTheOther(start, film('mp3')), async (harness) => {
      await harness.stateThat(({ error }) => error.includes('Speex'));
      await harness.room.until(() => harness.room.packets('audio').length > 20);
    });
    expect(room.attributes['sluice.ingress.refused']).toBe('');
  });

  test('neither sound nor picture: the session ends', async () => {
    const body = enhancedBody({
      kind: 'video',
      head: 0x10,
      fourCc: 'vvc1',
      packetType: 0,
      data: Buffer.alloc(4),
    });
    const sound = film('speex').filter(({ typeId }) => typeId === FLV_TAG.audio);
    await published(
      [{ typeId: FLV_TAG.video, timestampMs: 0, payload: body }, ...sound],
      async ({ stateThat }) => {
        const { error } = await stateThat(({ status }) => status === ENDPOINT_ERROR);
        expect(error).toContain('Speex');
      },
    );
  });
});
