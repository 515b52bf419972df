import { describe, expect, it } from 'vitest';
import { DtlsRecordFilter, type DtlsAlert } from '../../../services/sfu/transport/dtls-record-filter.ts';
import { seededRandom } from '../rtp/seeded-random.ts';

function record(type: number, epoch: number, body: Buffer): Buffer {
  const header = Buffer.alloc(13);
  header.set([type, 254, 253, 0, epoch]);
  header.writeUInt16BE(body.length, 11);
  return Buffer.concat([header, body]);
}

function handshake(type: number, length: number, fragment = length): Buffer {
  const message = Buffer.alloc(12 + fragment);
  message[0] = type;
  message.writeUIntBE(length, 1, 3);
  message.writeUIntBE(fragment, 9, 3);
  return record(22, 0, message);
}

const HELLO = handshake(1, 40);
const PLAIN_FINISHED = handshake(20, 12);
const CHANGE_CIPHER = record(20, 0, Buffer.from([1]));
const ENCRYPTED_FINISHED = record(22, 1, Buffer.alloc(40));
const APPLICATION_DATA = record(23, 1, Buffer.alloc(40));
const PLAIN_DATA = record(23, 0, Buffer.alloc(40));
const PLAIN_ALERT = record(21, 0, Buffer.from([2, 40]));
const ENCRYPTED_ALERT = record(21, 1, Buffer.alloc(26));

function run(filter: DtlsRecordFilter, datagram: Buffer) {
  const passed: Buffer[] = [];
  const alerts: (DtlsAlert | undefined)[] = [];
  const withinBudget = filter.filter(
    datagram,
    (one) => passed.push(one),
    (_record, plain) => alerts.push(plain),
  );
  return { passed, alerts, withinBudget };
}

describe('DTLS record filter', () => {
  it('passes a handshake, but no plaintext Finished and no data before it', () => {
    const filter = new DtlsRecordFilter();
    const flight = Buffer.concat([HELLO, CHANGE_CIPHER, ENCRYPTED_FINISHED]);
    expect(run(filter, flight).passed).toEqual([HELLO, CHANGE_CIPHER, ENCRYPTED_FINISHED]);
    expect(run(filter, Buffer.concat([PLAIN_FINISHED, PLAIN_DATA, APPLICATION_DATA])).passed).toEqual([]);
    expect(run(filter, PLAIN_ALERT).alerts).toEqual([{ level: 'fatal', description: 40 }]);
  });

  it('drops everything in the clear once connected', () => {
    const filter = new DtlsRecordFilter();
    filter.setConnected();
    const all = [HELLO, PLAIN_FINISHED, CHANGE_CIPHER, PLAIN_ALERT, PLAIN_DATA, APPLICATION_DATA];
    const { passed, alerts } = run(filter, Buffer.concat([...all, ENCRYPTED_ALERT, ENCRYPTED_FINISHED]));
    expect(passed).toEqual([APPLICATION_DATA, ENCRYPTED_FINISHED]);
    expect(alerts).toEqual([undefined]);
  });

  it('does not let lengths in a message cost memory', () => {
    const filter = new DtlsRecordFilter();
    expect(run(filter, handshake(11, 0xff_ffff, 10)).passed).toEqual([]);
    const overrun = handshake(11, 40);
    overrun.writeUIntBE(41, 13 + 9, 3);
    expect(run(filter, overrun).passed).toEqual([]);
  });

  it('bounds ClientHellos and datagrams of one handshake', () => {
    const filter = new DtlsRecordFilter();
    let hellos = 0;
    let lastOfBudget = 0;
    for (let count = 1; count <= 1000; count += 1) {
      const { passed, withinBudget } = run(filter, HELLO);
      hellos += passed.length;
      lastOfBudget = withinBudget ? count : lastOfBudget;
    }
    expect(hellos).toBe(40);
    expect(lastOfBudget).toBe(300);
  });

  it('never throws', () => {
    const random = seededRandom(6);
    for (let round = 0; round < 4000; round += 1) {
      const filter = new DtlsRecordFilter();
      const bytes = Buffer.from(Buffer.concat([HELLO, PLAIN_ALERT, ENCRYPTED_FINISHED]));
      for (let flips = 0; flips < 6; flips += 1) {
        bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
      }
      expect(() => run(filter, bytes.subarray(0, Math.floor(random() * bytes.length)))).not.toThrow();
    }
  });
});
