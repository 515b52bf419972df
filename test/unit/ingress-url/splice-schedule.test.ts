import { expect, it } from 'vitest';
import { SpliceSchedule } from '../../../services/ingress/url/splice-schedule.ts';
import { SpliceReader } from '../../../services/protocol/splice-info.ts';
import { spliceSection, type Splice } from '../../support/scte35-ts.ts';

/** Five seconds before the clock of MPEG-TS wraps. */
const ORIGIN = 2 ** 33 - 5 * 90_000;

function schedule(): { push: (splice: Partial<Splice>) => void; at: (seconds: number) => string[] } {
  const told: string[] = [];
  const splices = new SpliceSchedule((eventId) => told.push(eventId));
  return {
    push: (splice) => {
      const section = spliceSection({ sentAtS: 0, eventId: 7, outOfNetwork: true, ...splice }, ORIGIN);
      splices.push(section, (ORIGIN / 90_000) * 1e6, 1e6);
    },
    at: (seconds) => {
      splices.reached(seconds * 1e6);
      return told.splice(0);
    },
  };
}

it('an event counts from its time on, over a wrap of the clock, until the program is back', () => {
  const { push, at } = schedule();
  push({ atS: 4 });
  push({ atS: 8, outOfNetwork: false });
  expect([at(3.9), at(4), at(7.9), at(8.1), at(9)]).toEqual([[], ['7'], [], [''], []]);
});

it('a repeated command counts once, with its last time; a cancelled one not at all', () => {
  const { push, at } = schedule();
  push({ atS: 4 });
  push({ atS: 6 });
  push({ atS: 3, eventId: 8 });
  push({ eventId: 8, cancel: true });
  expect([at(5), at(6)]).toEqual([[], ['7']]);
  push({ eventId: 7, cancel: true });
  expect(at(6.1)).toEqual(['']);
});

it('a command without a time counts where it was read', () => {
  const { push, at } = schedule();
  push({});
  expect([at(0.9), at(1)]).toEqual([[], ['7']]);
});

it('sections are found at any cut; other commands, other tables and garbage mean nothing', () => {
  const section = spliceSection({ sentAtS: 0, eventId: 0xffff_fffe, outOfNetwork: true, atS: 1 }, 0);
  const other = Buffer.from(section);
  other[13] = 6; // time_signal
  const encrypted = Buffer.from(section);
  encrypted[4] = 0x80;
  const stream = Buffer.concat([Buffer.from('garbage'), other, encrypted, section]);
  for (const cut of [1, 2, 10, 40, 90]) {
    const reader = new SpliceReader();
    expect([...reader.push(stream.subarray(0, cut)), ...reader.push(stream.subarray(cut))]).toEqual([
      { eventId: 0xffff_fffe, outOfNetwork: true, cancelled: false, ptsTicks: 90_000 },
    ]);
  }
  for (let length = 0; length < section.length; length += 1) {
    const short = Buffer.from(section.subarray(0, length));
    if (length >= 3) {
      short.writeUInt16BE(0x3000 | (length - 3), 1);
    }
    expect(() => new SpliceReader().push(short)).not.toThrow();
  }
});
