/**
 * FFmpeg 8's WHIP muxer as a program: `node whip-ffmpeg-publisher.mjs URL FILE [BEARER]`. Plays the file (H.264 + Opus)
 * over and over at its own pace, packets untouched. Prints `connected` once the muxer is open; ends on SIGTERM.
 */
Promise.withResolvers ??= function withResolvers() {
  let resolve;
  let reject;
  const promise = new Promise((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
};
const { Demuxer, Muxer } = await import('node-av/api');

const [url, file, bearer = ''] = process.argv.slice(2);
const options = bearer === '' ? {} : { authorization: bearer };
let stopping = false;
process.on('SIGTERM', () => {
  stopping = true;
});

const first = await Demuxer.open(file);
const output = await Muxer.open(url, { format: 'whip', input: first, options });
const inputs = [first.video(), first.audio()].filter((stream) => stream !== undefined && stream !== null);
const outputs = new Map(inputs.map((stream) => [stream.index, output.addStream(stream)]));
let announced = false;
let offsetMs = 0;
const startedMs = Date.now();
for (let input = first; !stopping; input = await Demuxer.open(file)) {
  let lastMs = 0;
  for await (const packet of input.packets()) {
    const stream = inputs.find(({ index }) => index === packet?.streamIndex);
    if (packet === null || packet === undefined || stopping) {
      break;
    }
    if (stream === undefined) {
      continue;
    }
    const { num, den } = stream.timeBase;
    const atMs = (Number(packet.dts) * num * 1000) / den;
    lastMs = Math.max(lastMs, atMs + (Number(packet.duration) * num * 1000) / den);
    const waitMs = offsetMs + atMs - (Date.now() - startedMs);
    if (waitMs > 0) {
      await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
    const shift = BigInt(Math.round((offsetMs * den) / num / 1000));
    packet.pts += shift;
    packet.dts += shift;
    await output.writePacket(packet, outputs.get(packet.streamIndex));
    if (!announced) {
      announced = true;
      console.log('connected');
    }
  }
  offsetMs += lastMs;
  await input.close();
}
await output.close();
process.exit(0);
