/**
 * FFmpeg 8's WHIP muxer as a program: `node whip-ffmpeg-publisher.mjs URL FILE [BEARER]`. Plays the file (H.264 + Opus)
 * once at its own pace, packets untouched. Prints `connected` once the muxer is open; ends on SIGTERM.
 */
import { Demuxer, Muxer } from './node-av-api.mjs';

const [url, file, bearer = ''] = process.argv.slice(2);
const options = bearer === '' ? {} : { authorization: bearer };
let stopping = false;
process.on('SIGTERM', () => {
  stopping = true;
});

const input = await Demuxer.open(file);
const output = await Muxer.open(url, { format: 'whip', input, options });
const inputs = [input.video(), input.audio()].filter((stream) => stream !== undefined && stream !== null);
const outputs = new Map(inputs.map((stream) => [stream.index, output.addStream(stream)]));
let announced = false;
const startedMs = Date.now();
for await (const packet of input.packets()) {
  if (packet === null || packet === undefined || stopping) {
    break;
  }
  const stream = inputs.find(({ index }) => index === packet.streamIndex);
  if (stream === undefined) {
    continue;
  }
  const { num, den } = stream.timeBase;
  const waitMs = (Number(packet.dts) * num * 1000) / den - (Date.now() - startedMs);
  if (waitMs > 0) {
    await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
  await output.writePacket(packet, outputs.get(packet.streamIndex));
  if (!announced) {
    announced = true;
    console.log('connected');
  }
}
await output.close();
process.exit(0);
