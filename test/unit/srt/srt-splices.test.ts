import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SrtSplices } from '../../../services/ingress/srt/srt-splices.ts';
import { withSplices } from '../../support/scte35-ts.ts';
import { SeededRandom } from '../../support/seeded-random.ts';
import { makeClips } from '../../support/url-clips.ts';

const SECONDS = 4;
const DELAY_MS = 500;
const PAYLOAD_BYTES = 7 * 188;

let folder: string;
let film: Buffer;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'sluice-srt-splices-'));
  await makeClips(folder, ['reordered.ts'], SECONDS);
  film = withSplices(await readFile(path.join(folder, 'reordered.ts')), [
    { sentAtS: 0.4, eventId: 7, outOfNetwork: true, atS: 1 },
    { sentAtS: 0.5, eventId: 9, outOfNetwork: true, atS: 1.5 },
    { sentAtS: 0.6, eventId: 9, outOfNetwork: false, cancel: true },
    { sentAtS: 2, eventId: 7, outOfNetwork: false },
  ]);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** What is told, and how much of the film had come by then: 0 to 1. */
function play(header: Buffer, bytes = film): [string, number][] {
  const told: [string, number][] = [];
  let sent = 0;
  const splices = new SrtSplices({
    onChange: (eventId) => told.push([eventId, sent / bytes.length]),
    delayMs: () => DELAY_MS,
  });
  for (; sent < bytes.length; sent += PAYLOAD_BYTES) {
    splices.onDatagram(Buffer.concat([header, bytes.subarray(sent, sent + PAYLOAD_BYTES)]));
  }
  return told;
}

/** The beginning of a data packet (draft-sharabayko-srt-01 section 3.1), alone in its message. */
const DATA = Buffer.from([0, 0, 0, 1, 0xc0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);

test('a publisher’s splices count when the media of their time is played', () => {
  const told = play(DATA);
  expect(told.map(([eventId]) => eventId)).toEqual(['', '7', '']);
  const [, out = 0, back = 0] = told.map(([, part]) => part * SECONDS);
  // Bits are not spread evenly over the film.
  expect(Math.abs(out - (1 + DELAY_MS / 1000))).toBeLessThan(0.5);
  expect(Math.abs(back - (2 + DELAY_MS / 1000))).toBeLessThan(0.5);
});

test.each([
  ['encrypted', Buffer.from([0, 0, 0, 1, 0xc8, 0, 0, 1])],
  ['no media', Buffer.from([0x80, 2, 0, 0, 0, 0, 0, 0])],
])('nothing is read of what is %s', (_what, start) => {
  expect(play(Buffer.concat([start, Buffer.alloc(8)]))).toEqual([]);
});

test('whatever comes, it is taken', () => {
  const random = new SeededRandom(35);
  const packets = 188 * 60;
  for (let round = 0; round < 300; round++) {
    const bytes = Buffer.from(film.subarray(0, packets));
    for (let hit = 0; hit < 200; hit++) {
      const at = Math.floor(random.next() * bytes.length);
      // A packet that does not begin as one is not looked at any further.
      if (at % 188 !== 0) {
        bytes[at] = Math.floor(random.next() * 256);
      }
    }
    expect(() => play(DATA, bytes.subarray(0, packets - Math.floor(random.next() * 400)))).not.toThrow();
  }
});
