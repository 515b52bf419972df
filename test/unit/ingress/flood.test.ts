import { afterEach, expect, test } from 'vitest';
import {
  ENDPOINT_PUBLISHING,
  startIngressHarness,
  STREAM_KEY,
  type IngressHarness,
} from '../../support/ingress-harness.ts';
import { RtmpClient } from '../../support/rtmp-client.ts';
import { AVC_CONFIG, KEY_FRAME, sendFrames } from '../../support/rtmp-frames.ts';

let harness: IngressHarness | undefined;

afterEach(() => harness?.close());

test('a thousand key frames a second are published in rising time, and a sequence header with each changes nothing', async () => {
  harness = await startIngressHarness({ limits: { refusalDelayMs: 0 } });
  const { room, ingress, states } = harness;
  const flood = new RtmpClient(ingress.rtmpPort).publish(STREAM_KEY);
  sendFrames(flood, 0);
  await room.until(() => room.packets('video').length === 3);
  const count = 2_000;
  for (let ms = 100; ms < 100 + count; ms++) {
    flood.video(ms, AVC_CONFIG).video(ms, KEY_FRAME);
  }
  await room.until(() => room.packets('video').length === 3 + count);
  const times = room.packets('video').map(({ ptsUs }) => ptsUs);
  expect(times.every((time, index) => index === 0 || time > (times[index - 1] ?? 0))).toBe(true);
  expect(room.tracks).toHaveLength(1);
  expect(states.at(-1)?.status).toBe(ENDPOINT_PUBLISHING);
  // Everybody else is served meanwhile.
  const other = new RtmpClient(ingress.rtmpPort).publish('wrong');
  expect((await other.status()).description).toBe('stream key is not valid');
  sendFrames(flood, 100 + count);
  await room.until(() => room.packets('video').length === 3 + count + 3);
  flood.close();
  other.close();
});
