import { buildAvcConfig } from '../../services/media/codecs/h264-avcc.ts';
import { joinLengthPrefixed } from '../../services/media/codecs/h264.ts';
import { flvVideoBody } from '../../services/protocol/flv.ts';
import { SPS } from './h264-samples.ts';
import type { RtmpClient } from './rtmp-client.ts';

const PPS = Uint8Array.of(0x68, 0xce, 0x3c, 0x80);

/** Bodies of video messages that look like H.264 to whoever does not decode them. */
export const AVC_CONFIG = Buffer.concat(
  flvVideoBody({ packet: 'config', data: Buffer.from(buildAvcConfig([SPS.baseline], [PPS])) }),
);
export const KEY_FRAME = frame(true);
export const DELTA_FRAME = frame(false);

/** A configuration and `count` frames at 30 fps, the first of them a key frame. */
export function sendFrames(client: RtmpClient, fromMs: number, count = 3): void {
  client.video(fromMs, AVC_CONFIG).video(fromMs, KEY_FRAME);
  for (let index = 1; index < count; index += 1) {
    client.video(fromMs + index * 33, DELTA_FRAME);
  }
}

function frame(key: boolean): Buffer {
  const data = joinLengthPrefixed([Uint8Array.of(key ? 0x65 : 0x41, 0x88, 0x84, 0x21)]);
  return Buffer.concat(flvVideoBody({ packet: 'frame', key, compositionMs: 0, data }));
}
