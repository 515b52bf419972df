import { describe, expect, test } from 'vitest';
import { SafeEmitter } from '../../../services/base/events.ts';
import { createLogger } from '../../../services/base/logger.ts';
import { AUDIO_LATE_US, CaptureSession } from '../../../services/egress/capture/capture-session.ts';
import type { CaptureSocket, CaptureSocketEvents } from '../../../services/egress/capture/capture-socket.ts';
import type { RecorderCommand } from '../../../services/egress/capture/recorder-protocol.ts';
import { systemMonotonicUs } from '../../../services/egress/capture/session-clock.ts';
import type { EncodedPacket } from '../../../services/model/packet.ts';

/** A recorder whose worker clock reads 0 when our clock reads `originUs`. */
function fakeRecorder() {
  const events = new SafeEmitter<CaptureSocketEvents>();
  const commands: RecorderCommand[] = [];
  const originUs = systemMonotonicUs() - 5_000_000;
  const socket = {
    events,
    send: (command: RecorderCommand) => {
      commands.push(command);
      if (command.type === 'clock') {
        const workerUs = systemMonotonicUs() - originUs;
        queueMicrotask(() => {
          events.emit('event', { type: 'clock', id: command.id, workerUs });
        });
      }
    },
  } as unknown as CaptureSocket;
  const session = new CaptureSession(socket, 'stage', createLogger({ level: 'silent' }));
  const video: EncodedPacket[] = [];
  const pcm: { ptsUs: number; data: Uint8Array }[] = [];
  session.events.on('video', (packet) => video.push(packet));
  session.events.on('pcm', (chunk) => pcm.push(chunk));
  return { session, events, commands, originUs, video, pcm };
}

describe('CaptureSession', () => {
  test('puts picture (monotonic clock) and sound (worker clock) on one clock from 0', async () => {
    const { session, events, originUs, video, pcm } = fakeRecorder();
    await session.synchronise();
    events.emit('event', { type: 'audio', sampleRateHz: 48_000 });
    expect(await session.audioSampleRateHz()).toBe(48_000);
    const recording = session.record();
    const startUs = systemMonotonicUs();
    const soundAt = (localUs: number): void => {
      events.emit('chunk', {
        kind: 'pcm',
        sampleRateHz: 48_000,
        captureUs: localUs - originUs,
        arrivalUs: localUs - originUs + 20_000,
        sequence: 0,
        data: new Uint8Array(1920).fill(1),
      });
    };
    const pictureAt = (localUs: number, key: boolean): void => {
      events.emit('chunk', {
        kind: 'video',
        key,
        captureUs: localUs,
        arrivalUs: localUs - originUs + 12_000,
        sequence: 0,
        data: Uint8Array.of(1),
      });
    };
    soundAt(startUs + AUDIO_LATE_US.stage + 2_000);
    pictureAt(startUs - 33_000, false);
    pictureAt(startUs, true);
    soundAt(startUs + AUDIO_LATE_US.stage + 12_000);
    pictureAt(startUs + 33_300, false);
    await recording;
    expect(video.map(({ ptsUs, key }) => [ptsUs, key])).toEqual([
      [0, true],
      [33_300, false],
    ]);
    const tones = pcm.filter(({ data }) => data[0] === 1).map(({ ptsUs }) => ptsUs);
    expect(pcm[0]?.ptsUs).toBe(0);
    expect(Math.abs((tones[0] ?? 0) - 2_000)).toBeLessThan(1_500);
    expect(Math.abs((tones[1] ?? 0) - 12_000)).toBeLessThan(1_500);
    session.close();
  });

  test('a lost recorder fails a running recording, and stop() does not wait for it', async () => {
    const { session, events, commands } = fakeRecorder();
    await session.synchronise();
    const failures: string[] = [];
    session.events.on('failed', (error) => failures.push(error.message));
    events.emit('event', { type: 'error', message: 'video encoder: gone' });
    events.emit('disconnected', undefined);
    await session.stop();
    expect(failures).toEqual([
      'page capture failed: video encoder: gone',
      'the recorder page lost its connection',
    ]);
    expect(commands.map(({ type }) => type)).not.toContain('stop');
  });
});
