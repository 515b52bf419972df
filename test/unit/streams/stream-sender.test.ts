import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ServiceError } from '../../../services/base/errors.ts';
import { createLogger } from '../../../services/base/logger.ts';
import type { FlvMessage, StreamLink } from '../../../services/egress/streams/stream-link.ts';
import { StreamSender } from '../../../services/egress/streams/stream-sender.ts';
import { amfObject } from '../../../services/protocol/amf0.ts';

/** A destination under the test's control. */
class FakeLink implements StreamLink {
  sentBytes = 0;
  readonly hasUnsent = false;
  readonly closed: Promise<Error>;
  readonly taken: FlvMessage[] = [];
  isStuck = false;
  isFinished = false;
  lose: (error: Error) => void = () => undefined;

  constructor() {
    this.closed = new Promise((resolve) => {
      this.lose = resolve;
    });
  }

  write(batch: readonly FlvMessage[], onTaken: () => void): void {
    if (!this.isStuck) {
      this.taken.push(...batch);
      this.sentBytes += batch.reduce((sum, { bytes }) => sum + bytes, 0);
      queueMicrotask(onTaken);
    }
  }

  finish(): Promise<void> {
    this.isFinished = true;
    return Promise.resolve();
  }

  destroy(error: Error): void {
    this.lose(error);
  }
}

const refused = new ServiceError('unavailable', 'h:1935 cannot be reached: connection refused', {
  blame: 'destination',
});

function frame(ms: number, bytes = 3000): FlvMessage {
  return { kind: 'video', startsDecoding: ms % 1000 === 0, dtsUs: ms * 1000, body: [], bytes, config: [] };
}

function start(answers: (FakeLink | Error)[]) {
  const opened: FakeLink[] = [];
  const sender = new StreamSender({
    openLink: () => {
      const answer = answers.shift() ?? refused;
      if (answer instanceof Error) {
        return Promise.reject(answer);
      }
      opened.push(answer);
      return Promise.resolve(answer);
    },
    metadata: () => amfObject({}),
    logger: createLogger({ level: 'silent' }),
    onChange: () => undefined,
  });
  return { sender, opened };
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('a destination', () => {
  it('that never took anything fails at once', async () => {
    const { sender } = start([refused]);
    await sender.ended;
    expect(sender.facts).toMatchObject({
      status: 'failed',
      error: refused.message,
      retries: 0,
      startedAtNs: 0n,
    });
    const silent = new FakeLink();
    const second = start([silent]);
    await vi.advanceTimersByTimeAsync(10);
    silent.lose(new ServiceError('unavailable', 'gone'));
    await second.sender.ended;
    expect(second.sender.facts).toMatchObject({ status: 'failed', error: 'gone', retries: 0 });
  });

  it('that was lost is called again until its 30 seconds are over', async () => {
    const link = new FakeLink();
    const { sender } = start([link]);
    await vi.advanceTimersByTimeAsync(10);
    sender.offer([frame(0), frame(40)]);
    link.lose(new ServiceError('unavailable', 'gone'));
    await vi.advanceTimersByTimeAsync(20_000);
    expect(sender.facts.status).toBe('active');
    expect(sender.facts.retries).toBeGreaterThan(4);
    expect(sender.facts.lastRetryAtNs).toBeGreaterThan(0n);
    await vi.advanceTimersByTimeAsync(12_000);
    expect(sender.facts).toMatchObject({ status: 'failed', error: refused.message });
  });

  it('that comes back starts at a key frame, with a new budget once it is steady', async () => {
    const links = [new FakeLink(), new FakeLink(), new FakeLink()] as const;
    const { sender } = start([links[0], refused, links[1], links[2]]);
    await vi.advanceTimersByTimeAsync(10);
    sender.offer([frame(0), frame(40)]);
    links[0].lose(new Error('gone'));
    await vi.advanceTimersByTimeAsync(3000);
    sender.offer([frame(80)]);
    for (let ms = 1000; ms < 11_000; ms += 500) {
      sender.offer([frame(ms)]);
      await vi.advanceTimersByTimeAsync(500);
    }
    expect(links[1].taken[0]?.dtsUs).toBe(1_000_000);
    links[1].lose(new Error('gone again'));
    await vi.advanceTimersByTimeAsync(1000);
    await sender.finish();
    expect(links[2].isFinished).toBe(true);
    expect(sender.facts).toMatchObject({ status: 'finished', error: '', retries: 3 });
  });

  it('that takes nothing is hung up on, and holds bounded memory meanwhile', async () => {
    const link = new FakeLink();
    const { sender } = start([link]);
    await vi.advanceTimersByTimeAsync(10);
    sender.offer([frame(0), frame(40)]);
    await vi.advanceTimersByTimeAsync(1000);
    link.isStuck = true;
    for (let ms = 1000; ms < 9_000; ms += 40) {
      sender.offer([frame(ms, 200_000)]);
      await vi.advanceTimersByTimeAsync(40);
    }
    expect(sender.facts.retries).toBe(0);
    expect(sender.droppedMessages).toBeGreaterThan(100);
    await vi.advanceTimersByTimeAsync(4000);
    expect(sender.facts.retries).toBeGreaterThan(0);
    await vi.advanceTimersByTimeAsync(40_000);
    expect(sender.facts.status).toBe('failed');
  });

  it('that nothing is sent to is not wedged', async () => {
    const link = new FakeLink();
    const { sender } = start([link]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(sender.facts).toMatchObject({ status: 'active', retries: 0 });
    await sender.close();
    expect(sender.facts.status).toBe('finished');
  });

  it('can be removed while it is being called, and gives up draining after three seconds', async () => {
    const first = new FakeLink();
    const { sender } = start([first]);
    await vi.advanceTimersByTimeAsync(10);
    sender.offer([frame(0), frame(40)]);
    first.lose(new Error('gone'));
    await vi.advanceTimersByTimeAsync(600);
    await sender.finish();
    expect(sender.facts.status).toBe('finished');
    const stuck = new FakeLink();
    stuck.isStuck = true;
    const second = start([stuck]);
    await vi.advanceTimersByTimeAsync(10);
    second.sender.offer([frame(0)]);
    const finished = second.sender.finish();
    await vi.advanceTimersByTimeAsync(3100);
    await finished;
    expect(second.sender.facts.status).toBe('finished');
  });
});
