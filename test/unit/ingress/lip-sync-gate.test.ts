import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { LipSyncGate } from '../../../services/ingress/publish/lip-sync-gate.ts';
import type { EncodedPacket } from '../../../services/model/packet.ts';

const packet = (kind: 'video' | 'audio', ptsMs: number, durationMs = 0): EncodedPacket => ({
  kind,
  ptsUs: ptsMs * 1000,
  dtsUs: ptsMs * 1000,
  durationUs: durationMs * 1000,
  key: true,
  data: new Uint8Array(),
});

describe('lip sync gate', () => {
  let sent: string[];
  let gate: LipSyncGate;
  beforeEach(() => {
    vi.useFakeTimers();
    sent = [];
    gate = new LipSyncGate(({ kind, ptsUs }) => sent.push(`${kind} ${ptsUs / 1000}`));
  });
  afterEach(() => {
    gate.close();
    vi.useRealTimers();
  });

  it('holds a picture until the sound of its moment was sent', () => {
    gate.write(packet('audio', 0, 20));
    gate.write(packet('video', 0));
    gate.write(packet('video', 33));
    gate.write(packet('video', 66));
    expect(sent).toEqual(['audio 0', 'video 0']);
    gate.write(packet('audio', 20, 20));
    expect(sent.slice(2)).toEqual(['audio 20', 'video 33']);
    gate.write(packet('audio', 40, 40));
    expect(sent.slice(4)).toEqual(['audio 40', 'video 66']);
  });

  it('waits for no sound in a stream that has none', () => {
    gate.write(packet('video', 0));
    gate.write(packet('video', 33));
    expect(sent).toEqual(['video 0', 'video 33']);
  });

  it('lets pictures go, in order, when the sound is late – and at once when it stays away', () => {
    gate.write(packet('audio', 0, 20));
    gate.write(packet('video', 100));
    vi.advanceTimersByTime(40);
    gate.write(packet('video', 133));
    vi.advanceTimersByTime(165);
    gate.write(packet('video', 166));
    expect(sent).toEqual(['audio 0', 'video 100']);
    vi.advanceTimersByTime(40);
    gate.write(packet('video', 200));
    expect(sent.slice(2)).toEqual(['video 133']);
    vi.advanceTimersByTime(600);
    gate.write(packet('video', 800));
    expect(sent.slice(3)).toEqual(['video 166', 'video 200', 'video 800']);
  });

  it('lets the last pictures of an encoder that falls silent go too', () => {
    gate.write(packet('audio', 0, 20));
    gate.write(packet('video', 100));
    vi.advanceTimersByTime(1_000);
    expect(sent).toEqual(['audio 0', 'video 100']);
  });
});
