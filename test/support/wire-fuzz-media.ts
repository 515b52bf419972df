import { createVideoBitstream, type VideoBitstream } from '../../services/ingress/publish/video-bitstream.ts';
import { AccessUnitAssembler } from '../../services/ingress/publish/access-unit-assembler.ts';
import { parseAudioFrames } from '../../services/media/codecs/audio-frames.ts';
import { parseFlacConfig } from '../../services/media/codecs/flac.ts';
import { parseAacConfig } from '../../services/media/codecs/aac.ts';
import { buildAvcConfig } from '../../services/media/codecs/h264-avcc.ts';
import { joinLengthPrefixed } from '../../services/media/codecs/h264.ts';
import { parseSps } from '../../services/media/codecs/h264-sps.ts';
import type { VideoCodec } from '../../services/model/packet.ts';
import { flvVideoBody, parseFlvAudio, parseFlvVideo, type FlvVideo } from '../../services/protocol/flv.ts';
import { parseRtmpAudio, parseRtmpVideo } from '../../services/protocol/flv-enhanced.ts';
import { enhancedBody, opusHead } from './enhanced-rtmp.ts';
import { HEVC_SPS, hevcConfig } from './hevc-samples.ts';
import { SPS as SAMPLE_SPS } from './h264-samples.ts';
import type { SeededRandom } from './seeded-random.ts';

const SPS = SAMPLE_SPS.mainWithBFrames;
const PPS = Uint8Array.of(0x68, 0xce, 0x3c, 0x80);
const AVC_CONFIG = Buffer.from(buildAvcConfig([SPS], [PPS]));

/** Sequence headers, pictures and sound as a publisher sends them, then through what reads them first. */
export function fuzzFlv(random: SeededRandom): void {
  const assembler = new AccessUnitAssembler();
  for (let message = random.int(4); message >= 0; message--) {
    readVideo(random, assembler);
  }
  const sound = random.pick([
    Buffer.from([0xaf, 0, 0x12, 0x10]),
    Buffer.from([0xaf, 0, 0x2b, 0x92, 0x08, 0, 0x56, 0xe5, 0]),
    Buffer.from([0xaf, 1, 0x21]),
  ]);
  const heard = parseFlvAudio(Buffer.from(random.damage(sound)));
  if (heard?.codec === 'aac' && heard.audio.packet === 'config' && heard.audio.data.length > 0) {
    const { channels, sampleRateHz } = parseAacConfig(heard.audio.data);
    expectThat(channels <= 8 && sampleRateHz >= 7_350 && sampleRateHz <= 96_000, 'implausible AAC');
  }
  readFramedSound(random);
}

/** What begins like a frame of another codec. */
function readFramedSound(random: SeededRandom): void {
  const [codec, head] = random.pick([
    ['mp3', [0xff, 0xfb, 0x94, 0x64]],
    ['ac3', [0x0b, 0x77, 0x0b, 0xd5, 0x14, 0x40, 0x43]],
    ['eac3', [0x0b, 0x77, 0x01, 0x7f, 0x34, 0x87, 0xc0]],
    ['flac', [0xff, 0xf8, 0x5a, 0x88, 0, 0x37]],
  ] as const);
  const { samples } = parseAudioFrames(
    codec,
    random.damage(Buffer.concat([Buffer.from(head), random.bytes(random.int(600))])),
  );
  expectThat(samples >= 0 && samples <= 1_000_000, `implausible ${codec}`);
  parseFlacConfig(random.bytes(random.int(60)));
}

function readVideo(random: SeededRandom, assembler: AccessUnitAssembler): void {
  const nals = Array.from({ length: 1 + random.int(3) }, () =>
    random.pick([
      SPS,
      PPS,
      Uint8Array.of(0x65, 0x88, 1),
      Uint8Array.of(0x41, 0x9a),
      random.bytes(random.int(9)),
    ]),
  );
  const config = flvVideoBody({ packet: 'config', data: AVC_CONFIG });
  const compositionMs = random.pick([0, 40, -40, 0x7fffff, -0x800000]);
  const frame = flvVideoBody({
    packet: 'frame',
    key: random.chance(0.5),
    compositionMs,
    data: joinLengthPrefixed(nals),
  });
  const body = Buffer.concat(random.chance(0.5) ? config : frame);
  const video = parseFlvVideo(Buffer.from(random.chance(0.7) ? random.damage(body) : body));
  if (video?.packet === 'config') {
    assembler.configure(video.data);
  } else if (video?.packet === 'frame') {
    assembler.assemble(video.data);
  }
  if (assembler.sps !== undefined) {
    const { width, height } = parseSps(assembler.sps);
    expectThat(
      width > 0 && height > 0 && width <= 16_384 && height <= 16_384,
      `implausible ${width}x${height}`,
    );
  }
}

const FOUR_CCS = ['avc1', 'hvc1', 'vp08', 'vp09', 'av01', 'Opus', 'mp4a', 'xyz9'];
const LAYOUTS = [undefined, undefined, 'one', 'many', 'manyCodecs'] as const;
/** Real ones as far as they matter, for damage: hvcC with an SPS of 640x360, av1C, a VP9 and a VP8 key frame. */
const CONFIGS = [
  Buffer.concat([
    Buffer.from('0101600000009000000000003ff000fcfdf8f800000f0120000100024001210001002a', 'hex'),
    Buffer.from('420101016000000300900000030000030059a00a080b9f12e594bc92f0168080', 'hex'),
    Buffer.alloc(10),
  ]),
  ...Object.values(HEVC_SPS).map(hevcConfig),
  Buffer.from('810004000a0b000000042afffffff3d9c5', 'hex'),
  Buffer.from('824983420027f0167f00', 'hex'),
  Buffer.from('1000009d012a80026801', 'hex'),
  opusHead(),
  Buffer.concat([Buffer.from([0, 0, 0, 4]), Buffer.from([0x26, 1, 2, 3])]),
];

/** A stream of one codec through its parser and what completes its bitstream. */
export function fuzzEnhanced(random: SeededRandom): void {
  const fourCc = random.pick(FOUR_CCS);
  const bitstreams = new Map<string, VideoBitstream>();
  for (let left = 1 + random.int(4); left > 0; left--) {
    const kind = random.pick(['video', 'video', 'audio'] as const);
    const multitrack = random.pick(LAYOUTS);
    const body = enhancedBody({
      kind,
      head: kind === 'audio' ? 0x90 : random.int(8) << 4,
      fourCc: random.chance(0.9) ? fourCc : random.pick(FOUR_CCS),
      packetType: random.chance(0.9) ? random.pick([0, 1, 3]) : random.int(16),
      data: Buffer.from(random.chance(0.5) ? random.damage(random.pick(CONFIGS)) : random.pick(CONFIGS)),
      form: {
        modEx: random.chance(0.1),
        trackId: random.int(3),
        ...(multitrack === undefined ? {} : { multitrack }),
      },
    });
    const message = Buffer.from(random.chance(0.3) ? random.damage(body) : body);
    if (kind === 'audio') {
      expectThat(parseRtmpAudio(message).length <= 16, 'too many tracks');
    } else {
      parseRtmpVideo(message).forEach(({ codec, video }) => {
        completeVideo(bitstreams, codec, video);
      });
    }
  }
}

function completeVideo(bitstreams: Map<string, VideoBitstream>, codec: VideoCodec, video: FlvVideo): void {
  if (codec === 'h264') {
    return;
  }
  const bitstream = bitstreams.get(codec) ?? createVideoBitstream(codec);
  bitstreams.set(codec, bitstream);
  if (video.packet === 'config') {
    bitstream.configure(video.data);
  } else if (video.packet === 'frame') {
    bitstream.complete(video.data, video.key);
  }
  const { width, height } = bitstream.header ?? { width: 1, height: 1 };
  expectThat(
    width > 0 && height > 0 && width <= 65_536 && height <= 65_536,
    `implausible ${width}x${height}`,
  );
}

/** A result that cannot be is a fault like a crash. */
export function expectThat(condition: boolean, otherwise: string): void {
  if (!condition) {
    throw new Error(otherwise);
  }
}
