/**
 * HE-AAC from Fraunhofer's encoder as a program: `node he-aac-film.mjs IN OUT PROFILE SIGNALING`. It is FFmpeg 4.3 in
 * WebAssembly, as no other FFmpeg at hand has that encoder whole: Debian's has none, and the libfdk_aac in node-av is
 * the reduced one without SBR and parametric stereo ("Unable to set the AOT 5").
 * IN is Matroska: its picture goes over untouched, its sound becomes HE-AAC; OUT is FLV.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(import.meta.url);
const program = require.resolve('@ffmpeg/core-st');
const [file, out, profile, signaling] = process.argv.slice(2);
const log = [];
const core = await require(program)({
  wasmBinary: await readFile(path.join(path.dirname(program), 'ffmpeg-core.wasm')),
  print: (line) => log.push(line),
  printErr: (line) => log.push(line),
});
core.FS.writeFile('in.mkv', await readFile(file));
const args = [
  ...['ffmpeg', '-nostdin', '-hide_banner', '-i', 'in.mkv', '-c:v', 'copy', '-c:a', 'libfdk_aac'],
  ...[
    '-profile:a',
    profile,
    '-signaling',
    signaling,
    '-b:a',
    profile === 'aac_he_v2' ? '32k' : '64k',
    'out.flv',
  ],
];
const pointers = args.map((arg) => {
  const size = core.lengthBytesUTF8(arg) + 1;
  const pointer = core._malloc(size);
  core.stringToUTF8(arg, pointer, size);
  return pointer;
});
const list = core._malloc(pointers.length * 4);
pointers.forEach((pointer, index) => core.setValue(list + index * 4, pointer, 'i32'));
try {
  core._main(pointers.length, list);
} catch (error) {
  // Its main ends with exit(), which comes out as an exception.
  if (error.status !== 0) {
    throw new Error(log.slice(-5).join('\n'), { cause: error });
  }
}
await writeFile(out, core.FS.readFile('out.flv'));
