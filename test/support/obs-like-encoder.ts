import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import nodeDataChannel from 'node-datachannel';
import { flashBeepAudio, flashBeepVideo } from '../../fixtures/flash-beep.ts';
import { FfmpegEncoder } from './ffmpeg-encoder.ts';
import { LossyLine } from './lossy-line.ts';

type Layer = { width: number; height: number; bitrateKbps: number };
export type ObsLikeOptions = {
  url: string;
  bearer?: string;
  /** Highest first, as OBS numbers its rids; several = simulcast. */
  layers: readonly Layer[];
  framesPerSecond?: number;
  /** H265 as OBS announces it: without any fmtp. */
  codec?: 'h264' | 'h265';
  /** ffmpeg's input arguments of a live camera and its sound (streams 0:0 and 0:1) in place of the flash/beep film. */
  camera?: readonly string[];
  /** The last packet of a picture goes to the library. */
  onPicture?: (rtpTimestamp: number) => void;
  /** What happens to its packets; without one they arrive, and no NACK is answered. */
  line?: LossyLine;
  /** Only the TCP candidates of the answer are used. */
  overTcp?: boolean;
};

/** Layers below the first have the numbers after it. */
export const OBS_SSRC = { audio: 1000, video: 1001 } as const;
const AUDIO = { mid: '0', ssrc: OBS_SSRC.audio, payloadType: 111 };
const VIDEO = { mid: '1', ssrc: OBS_SSRC.video, payloadType: 96 };
/** The last packet of a picture (RFC 6184 section 5.1). */
const MARKER = 0x80;
const MID_EXTENSION = 1;
const RID_EXTENSION = 2;
const OPUS_FMTP = 'minptime=10;maxaveragebitrate=96000;stereo=1;sprop-stereo=1;useinbandfec=1';

const ENCODER = {
  h264: [
    ...['-c:v', 'libx264', '-profile:v', 'baseline', '-preset', 'veryfast'],
    ...['-x264-params', 'sliced-threads=0'],
  ],
  h265: ['-c:v', 'libx265', '-preset', 'ultrafast', '-x265-params', 'log-level=error:repeat-headers=1'],
} as const;

/** As OBS runs x264 with zerolatency: frame threads would hold pictures back. */
const OBS_THREADS = ['-x264-params', 'sliced-threads=1'];

/**
 * What OBS 30 to 32 does over WHIP, with the library it uses (libdatachannel): an offer without a single candidate,
 * H.264 always announced as 42e01f, no RTX and no transport-cc, key frame requests ignored, simulcast by rids 0;1;2
 * with only the first SSRC announced. The packets are ffmpeg's.
 */
export class ObsLikeEncoder {
  readonly location: string;
  readonly offer: string;
  readonly answer: string;
  /** Resolves when the connection is over, whoever ended it. */
  readonly ended: Promise<void>;
  readonly #pc: nodeDataChannel.PeerConnection;
  readonly #options: ObsLikeOptions;
  readonly #sockets: Socket[] = [];
  #ffmpeg: FfmpegEncoder | undefined;

  static async start(options: ObsLikeOptions): Promise<ObsLikeEncoder> {
    const { pc, audio, video, offer } = await createOffer(
      options.layers.length,
      options.overTcp,
      options.codec,
    );
    const response = await fetch(options.url, {
      method: 'POST',
      headers: {
        'content-type': 'application/sdp',
        ...(options.bearer === undefined ? {} : { authorization: `Bearer ${options.bearer}` }),
      },
      body: offer,
    });
    const answer = await response.text();
    const location = response.headers.get('location') ?? '';
    if (response.status !== 201 || !location.startsWith('/')) {
      pc.close();
      throw new Error(`WHIP: ${response.status} ${location} ${answer}`);
    }
    pc.setRemoteDescription(
      options.overTcp === true ? answer.replaceAll(/a=candidate:\S+ 1 udp .*\r\n/g, '') : answer,
      'answer',
    );
    const encoder = new ObsLikeEncoder(options, pc, { location, offer, answer });
    await Promise.all([opened(audio), opened(video)]);
    await encoder.#stream(audio, video);
    return encoder;
  }

  private constructor(
    options: ObsLikeOptions,
    pc: nodeDataChannel.PeerConnection,
    exchange: { location: string; offer: string; answer: string },
  ) {
    this.#options = options;
    this.#pc = pc;
    this.location = new URL(exchange.location, options.url).href;
    this.offer = exchange.offer;
    this.answer = exchange.answer;
    this.ended = new Promise((resolve) => {
      pc.onStateChange((state) => {
        if (state === 'disconnected' || state === 'failed' || state === 'closed') {
          resolve();
        }
      });
    });
  }

  /** Candidates of the server that this side knows: it learns no others, as the server sends no checks. */
  get remoteCandidates(): string[] {
    return this.#pc.remoteDescription()?.sdp.match(/^a=candidate:.*$/gm) ?? [];
  }

  /** As OBS: first the connection, then DELETE with the bearer. */
  async stop(): Promise<number> {
    this.drop();
    const { bearer } = this.#options;
    const headers = bearer === undefined ? {} : { authorization: `Bearer ${bearer}` };
    const response = await fetch(this.location, { method: 'DELETE', headers });
    return response.status;
  }

  /** The connection ends, nobody says so over HTTP. */
  drop(): void {
    this.stall();
    this.#pc.close();
  }

  /** Media stops, the connection stays. */
  stall(): void {
    this.#ffmpeg?.kill('SIGKILL');
    for (const socket of this.#sockets.splice(0)) {
      socket.close();
    }
  }

  async #stream(audio: nodeDataChannel.Track, video: nodeDataChannel.Track): Promise<void> {
    const { layers, framesPerSecond = 30 } = this.#options;
    const [top] = layers;
    const { line = new LossyLine({}) } = this.#options;
    const soundPort = await this.#listen((packet) => send(audio, line.take(packet)));
    const ports = await Promise.all(
      layers.map((_layer, index) =>
        this.#listen((packet) => {
          this.#note(packet);
          send(video, line.take(layers.length > 1 ? withRid(packet, String(index)) : packet));
        }),
      ),
    );
    for (const track of [audio, video]) {
      track.onMessage((rtcp) => {
        line.onRtcp(rtcp).forEach((packet) => {
          send(track, packet);
        });
      });
    }
    const picture = flashBeepVideo({ width: top?.width ?? 640, height: top?.height ?? 360, framesPerSecond });
    // One clock for the sender reports of all outputs, as OBS has it.
    const clock = ['-start_time_realtime', String(Date.now() * 1000)];
    const { camera } = this.#options;
    const film = [
      ...['-re', '-f', 'lavfi', '-i', picture],
      ...['-re', '-f', 'lavfi', '-i', flashBeepAudio({ sampleRateHz: 48_000, channels: 2 })],
    ];
    this.#ffmpeg = new FfmpegEncoder([
      ...(camera === undefined ? film : [...camera, '-vsync', 'passthrough']),
      ...layers.flatMap(({ width, height, bitrateKbps }, index) => [
        ...['-map', '0:v', '-vf', `scale=${width}:${height}`, ...ENCODER[this.#options.codec ?? 'h264']],
        ...(camera === undefined ? [] : OBS_THREADS),
        ...['-tune', 'zerolatency', '-bf', '0', '-g', String(framesPerSecond)],
        ...['-pix_fmt', 'yuv420p', '-b:v', `${bitrateKbps}k`],
        ...['-payload_type', String(VIDEO.payloadType), '-ssrc', String(VIDEO.ssrc + index)],
        ...[...clock, '-f', 'rtp', rtpUrl(ports[index] ?? 0)],
      ]),
      ...['-map', camera === undefined ? '1:a' : '0:a', '-c:a', 'libopus', '-b:a', '96k', '-ac', '2'],
      ...['-payload_type', String(AUDIO.payloadType), '-ssrc', String(AUDIO.ssrc), ...clock, '-f', 'rtp'],
      rtpUrl(soundPort),
    ]);
  }

  #note(packet: Buffer): void {
    if (packet[1] === (MARKER | VIDEO.payloadType)) {
      this.#options.onPicture?.(packet.readUInt32BE(4));
    }
  }

  /** RTP and RTCP of one ffmpeg output come to one port. */
  async #listen(onPacket: (packet: Buffer) => void): Promise<number> {
    const socket = createSocket('udp4');
    this.#sockets.push(socket);
    socket.on('message', onPacket);
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    return socket.address().port;
  }
}

/** Ends the library's own threads and callbacks: a program that used it would not end by itself. */
export function disposeObsLike(): void {
  nodeDataChannel.cleanup();
}

function rtpUrl(port: number): string {
  return `rtp://127.0.0.1:${port}?rtcpport=${port}&pkt_size=1200`;
}

/** The offer as OBS writes it; `layers` above 1 adds what OBS 32.1 adds for simulcast. */
export async function createOffer(
  layers = 1,
  overTcp = false,
  codec: 'h264' | 'h265' = 'h264',
): Promise<{
  pc: nodeDataChannel.PeerConnection;
  audio: nodeDataChannel.Track;
  video: nodeDataChannel.Track;
  offer: string;
}> {
  const pc = new nodeDataChannel.PeerConnection('obs', { iceServers: [], enableIceTcp: overTcp });
  const described = new Promise<string>((resolve) => {
    pc.onLocalDescription((sdp) => {
      resolve(sdp);
    });
  });
  const sound = new nodeDataChannel.Audio(AUDIO.mid, 'SendOnly');
  sound.addOpusCodec(AUDIO.payloadType, OPUS_FMTP);
  sound.addSSRC(AUDIO.ssrc, 'CNAME', 'MSID', 'MSID-audio');
  const picture = new nodeDataChannel.Video(VIDEO.mid, 'SendOnly');
  if (codec === 'h265') {
    picture.addH265Codec(VIDEO.payloadType);
  } else {
    picture.addH264Codec(VIDEO.payloadType);
  }
  picture.addSSRC(VIDEO.ssrc, 'CNAME', 'MSID', 'MSID-video');
  const audio = pc.addTrack(sound);
  const video = pc.addTrack(picture);
  pc.setLocalDescription('offer');
  const plain = await described;
  return { pc, audio, video, offer: layers > 1 ? withSimulcast(plain, layers) : plain };
}

/** node-datachannel cannot add rids, so they are written into what goes over the wire. */
function withSimulcast(sdp: string, layers: number): string {
  const rids = Array.from({ length: layers }, (_, index) => String(index));
  const lines = [
    `a=extmap:${MID_EXTENSION} urn:ietf:params:rtp-hdrext:sdes:mid`,
    `a=extmap:${RID_EXTENSION} urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id`,
    ...rids.map((rid) => `a=rid:${rid} send`),
    `a=simulcast:send ${rids.join(';')}`,
  ];
  return sdp.replace(/(m=video[\s\S]*?a=mid:1\r\n)/, `$1${lines.join('\r\n')}\r\n`);
}

/** Puts mid and rid in front of the payload as one-byte header extensions (RFC 8285). RTCP stays as it is. */
function withRid(packet: Buffer, rid: string): Buffer {
  const payloadType = (packet[1] ?? 0) & 0x7f;
  if (payloadType !== VIDEO.payloadType) {
    return packet;
  }
  const elements = Buffer.concat([element(MID_EXTENSION, VIDEO.mid), element(RID_EXTENSION, rid)]);
  const extension = Buffer.alloc(4 + elements.length);
  extension.writeUInt16BE(0xbede, 0);
  extension.writeUInt16BE(elements.length / 4, 2);
  elements.copy(extension, 4);
  const header = Buffer.from(packet.subarray(0, 12));
  header[0] = (header[0] ?? 0) | 0x10;
  return Buffer.concat([header, extension, packet.subarray(12)]);
}

/** One character each, so two elements fill a word exactly. */
function element(id: number, character: string): Buffer {
  return Buffer.from([id << 4, character.charCodeAt(0)]);
}

/** The server may have ended the connection. */
function send(track: nodeDataChannel.Track, packet: Buffer | undefined): void {
  if (packet !== undefined && track.isOpen()) {
    track.sendMessageBinary(packet);
  }
}

function opened(track: nodeDataChannel.Track): Promise<void> {
  return new Promise((resolve) => {
    track.onOpen(() => {
      resolve();
    });
    if (track.isOpen()) {
      resolve();
    }
  });
}
