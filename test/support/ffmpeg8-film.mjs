/**
 * FFmpeg 8's FLV muxer, which writes Enhanced RTMP, as a program: `node ffmpeg8-film.mjs IN OUT`. Debian's ffmpeg writes
 * FLV's own form only. All pictures and sounds of the input go over untouched, further ones as tracks of their own.
 */
import { Demuxer, Muxer } from './node-av-api.mjs';

const [file, out] = process.argv.slice(2);
const input = await Demuxer.open(file);
const output = await Muxer.open(out, { format: 'flv', input });
const outputs = new Map(input.streams.map((stream) => [stream.index, output.addStream(stream)]));
for await (const packet of input.packets()) {
  if (packet === null || packet === undefined) {
    break;
  }
  await output.writePacket(packet, outputs.get(packet.streamIndex));
}
await output.close();
process.exit(0);
