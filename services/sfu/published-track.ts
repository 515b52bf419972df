/* eslint-disable @typescript-eslint/no-deprecated -- clients in the field still read and write these fields */
import {
  SimulcastCodec,
  SimulcastCodecInfo,
  TrackInfo,
  TrackSource as WireSource,
  TrackType,
  VideoLayer,
  VideoLayer_Mode,
  VideoQuality,
  type AddTrackRequest,
} from '@livekit/protocol';
import { randomString } from '../base/ids.ts';
import type { AudioCodec, VideoCodec } from '../model/packet.ts';
import { clampLayer, trackSidInfix, type LayerSize, type TrackKind } from '../model/track.ts';
import type { Publication } from './media-types.ts';
import type { Subscription } from './subscription.ts';
import { sourceFromWire } from './wire-convert.ts';

/** MIME types as clients name them → our codec names. */
export const CODEC_BY_NAME: ReadonlyMap<string, VideoCodec | AudioCodec> = new Map([
  ['opus', 'opus'],
  ['vp8', 'vp8'],
  ['vp9', 'vp9'],
  ['h264', 'h264'],
  ['av1', 'av1'],
  ['h265', 'h265'],
]);

const MIME_BY_CODEC = {
  opus: 'audio/opus',
  vp8: 'video/VP8',
  vp9: 'video/VP9',
  h264: 'video/H264',
  av1: 'video/AV1',
  h265: 'video/H265',
} as const;
/** Wire value of each layer index. */
export const QUALITIES = [VideoQuality.LOW, VideoQuality.MEDIUM, VideoQuality.HIGH] as const;

type PublishableCodec = keyof typeof MIME_BY_CODEC;

/** A track of one participant, from its announcement (addTrack) until it is unpublished. */
export class PublishedTrack {
  readonly sid: string;
  readonly kind: TrackKind;
  readonly publisherSid: string;
  readonly publisherIdentity: string;
  /** Client-side ids under which the track may appear in an offer's msid. */
  readonly cids: ReadonlySet<string>;
  /** The first of them: what trackPublished echoes. */
  readonly cid: string;
  readonly info: TrackInfo;
  readonly subscriptions = new Set<Subscription>();
  /** The codec the client announced; undefined when it left the choice to us. */
  readonly announcedCodec: PublishableCodec | undefined;
  /** Set by negotiation once the track is in an answered offer. */
  media: { publication: Publication; fmtp: string } | undefined;
  /** The publisher was told that somebody receives the track (trackSubscribed, once). */
  announcedToPublisher = false;

  constructor(request: AddTrackRequest, publisher: { sid: string; identity: string }) {
    this.kind = request.type === TrackType.AUDIO ? 'audio' : 'video';
    this.sid = `TR_${trackSidInfix(this.kind, sourceFromWire(request.source))}${randomString(12)}`;
    this.publisherSid = publisher.sid;
    this.publisherIdentity = publisher.identity;
    const codec = request.simulcastCodecs[0]?.codec.toLowerCase().replace(/^(audio|video)\//, '') ?? '';
    this.announcedCodec = codec in MIME_BY_CODEC ? (codec as PublishableCodec) : undefined;
    const cids = [request.cid, ...request.simulcastCodecs.map((simulcast) => simulcast.cid)];
    this.cids = new Set(cids.filter((cid) => cid !== ''));
    this.cid = request.cid;
    this.info = trackInfo(request, this.sid, this.announcedCodec ?? (this.kind === 'audio' ? 'opus' : 'vp8'));
  }

  get muted(): boolean {
    return this.info.muted;
  }

  get source(): WireSource {
    return this.info.source;
  }

  /** Announced layer sizes, for adaptive stream. */
  layerSizes(): LayerSize[] {
    return this.info.layers
      .filter((layer) => layer.width > 0)
      .map((layer) => ({ layer: clampLayer(layer.quality), width: layer.width, height: layer.height }));
  }

  /** Sizes of simulcast layers that became known after the announcement. */
  layersMeasured(layers: readonly LayerSize[]): void {
    this.info.layers = layers.map(
      ({ layer, width, height }) => new VideoLayer({ quality: QUALITIES[layer], width, height }),
    );
    const [primary] = this.info.codecs;
    if (primary !== undefined) {
      primary.layers = this.info.layers;
    }
  }

  /** Records what was negotiated; the answer may differ from the announcement. */
  negotiated(codec: VideoCodec | AudioCodec, mid: string, simulcast: boolean): void {
    if (codec in MIME_BY_CODEC) {
      this.info.mimeType = MIME_BY_CODEC[codec as PublishableCodec];
    }
    this.info.mid = mid;
    this.info.simulcast = simulcast;
    const [primary] = this.info.codecs;
    if (primary !== undefined) {
      primary.mimeType = this.info.mimeType;
      primary.mid = mid;
    }
  }
}

/** LiveKit's names: what is recorded together is played together, so that receivers keep it in sync. */
function streamOf(source: WireSource): string {
  switch (source) {
    case WireSource.CAMERA:
    case WireSource.MICROPHONE:
      return 'camera';
    case WireSource.SCREEN_SHARE:
    case WireSource.SCREEN_SHARE_AUDIO:
      return 'screen';
    default:
      return 'unknown';
  }
}

function trackInfo(request: AddTrackRequest, sid: string, codec: PublishableCodec): TrackInfo {
  const mimeType = MIME_BY_CODEC[codec];
  const announced = request.simulcastCodecs[0] ?? new SimulcastCodec({ codec });
  const layers = announced.layers.length > 0 ? announced.layers : request.layers;
  return new TrackInfo({
    sid,
    type: request.type,
    name: request.name,
    muted: request.muted,
    width: request.width,
    height: request.height,
    source: request.source,
    layers,
    simulcast: layers.length > 1,
    disableDtx: request.disableDtx,
    // RED is never negotiated: subscribers get Opus.
    disableRed: true,
    stereo: request.stereo,
    stream: request.stream === '' ? streamOf(request.source) : request.stream,
    encryption: request.encryption,
    audioFeatures: request.audioFeatures,
    backupCodecPolicy: request.backupCodecPolicy,
    packetTrailerFeatures: request.packetTrailerFeatures,
    mimeType,
    codecs: [
      new SimulcastCodecInfo({
        mimeType,
        cid: announced.cid === '' ? request.cid : announced.cid,
        layers,
        videoLayerMode:
          announced.videoLayerMode === VideoLayer_Mode.MODE_UNUSED && layers.length > 0
            ? VideoLayer_Mode.ONE_SPATIAL_LAYER_PER_STREAM
            : announced.videoLayerMode,
      }),
    ],
  });
}
