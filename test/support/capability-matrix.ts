/**
 * What is known to work, as data: one proof for every cell. README's table is rendered from it, and
 * test/e2e/capability-matrix.test.ts runs the cells marked 'here' and looks up all others.
 */

/** 'here' = test/e2e/capability-matrix.test.ts, by its row and store. */
export type Proof = 'here' | { file: string; test: string };

export const SOURCES = {
  template: 'Room composite',
  audio_room: 'Room composite, sound only',
  web: 'Web page',
  participant: 'Participant',
  track_composite: 'Track composite',
  media: 'Media (`StartEgress`)',
  track: 'Track, untouched',
} as const;
export type Source = keyof typeof SOURCES;

export const STORED_OUTPUTS = {
  mp4: 'MP4',
  ogg: 'OGG (Opus)',
  webm: 'WebM (VP8)',
  hls: 'HLS',
  images: 'JPEG images',
} as const;
export type StoredOutput = keyof typeof STORED_OUTPUTS;
export const STORES = { disk: 'disk', s3: 'S3' } as const;
export type Store = keyof typeof STORES;

export const STREAMS = { rtmp: 'RTMP', rtmps: 'RTMPS', srt: 'SRT' } as const;
export type Stream = keyof typeof STREAMS;

export type Row = {
  stored: Partial<Record<StoredOutput, Partial<Record<Store, Proof>>>>;
  streams: Partial<Record<Stream, Proof>>;
};

const skeleton: Proof = {
  file: 'test/e2e/skeleton.test.ts',
  test: 'records the room and the untouched track at the same time',
};
const oneEncode: Proof = {
  file: 'test/e2e/one-encode.test.ts',
  test: 'feeds a file, segments, images and streams, picture by picture the same',
};
const pages: Proof = {
  file: 'test/e2e/pages.test.ts',
  test: 'records any page on the web, without a room',
};
const participant: Proof = {
  file: 'test/interop/media-egress.test.ts',
  test: 'scales to the exact size and rate, in lip sync, and completes when the participant leaves',
};
const choir: Proof = {
  file: 'test/interop/media-egress.test.ts',
  test: 'mixes everybody, late joiners at their time, and ends with the room',
};
const routes: Proof = {
  file: 'test/interop/media-egress.test.ts',
  test: 'routes a track left, an agent right, and the rest to both',
};
const hlsPlayer: Proof = {
  file: 'test/interop/hls-egress.test.ts',
  test: 'play live in hls.js and whole afterwards, next to a file and images from the same encode',
};
const streamEgress: Proof = {
  file: 'test/e2e/stream-egress.test.ts',
  test: 'are added, removed and outlive each other; the last one takes the job along',
};
const untouched: Proof = {
  file: 'test/interop/track-egress.test.ts',
  test: 'records H.264 to MP4, VP8 to WebM and Opus to Ogg at once, every packet as it was sent',
};

const HERE = { disk: 'here', s3: 'here' } as const;

/** Source × output × store. A cell that is missing is refused by the API. */
export const CAPABILITIES: Readonly<Record<Source, Row>> = {
  template: {
    stored: {
      mp4: { disk: skeleton, s3: 'here' },
      hls: { disk: oneEncode, s3: 'here' },
      images: { disk: oneEncode, s3: 'here' },
    },
    streams: { rtmp: oneEncode, rtmps: oneEncode, srt: 'here' },
  },
  audio_room: {
    stored: { mp4: HERE, ogg: { disk: choir, s3: 'here' }, hls: HERE },
    streams: { rtmp: 'here', rtmps: 'here', srt: 'here' },
  },
  web: {
    stored: { mp4: { disk: pages, s3: 'here' }, hls: HERE, images: HERE },
    streams: { rtmp: 'here', rtmps: 'here', srt: 'here' },
  },
  participant: {
    stored: { mp4: { disk: participant, s3: 'here' }, hls: HERE, images: HERE },
    streams: { rtmp: 'here', rtmps: 'here', srt: 'here' },
  },
  track_composite: {
    stored: {
      mp4: { disk: hlsPlayer, s3: 'here' },
      ogg: HERE,
      hls: { disk: hlsPlayer, s3: 'here' },
      images: { disk: hlsPlayer, s3: 'here' },
    },
    streams: { rtmp: streamEgress, rtmps: 'here', srt: 'here' },
  },
  media: {
    stored: { mp4: HERE, ogg: { disk: routes, s3: 'here' }, hls: HERE, images: HERE },
    streams: { rtmp: 'here', rtmps: 'here', srt: 'here' },
  },
  track: {
    stored: {
      mp4: { disk: untouched, s3: 'here' },
      ogg: { disk: untouched, s3: 'here' },
      webm: { disk: untouched, s3: 'here' },
    },
    streams: {},
  },
};

export type IngressRow = { title: string; passthrough?: Proof; transcode?: Proof };

const whipEncoders = 'test/interop/whip-encoders.test.ts';
const whipTranscode = 'test/interop/whip-transcode.test.ts';
const rtmpLayers = 'test/interop/rtmp-layers.test.ts';
const srtListener = 'test/interop/srt-listener.test.ts';
const urlLive = 'test/interop/url-live.test.ts';
const enhanced: Proof = {
  file: 'test/interop/rtmp-enhanced.test.ts',
  test: "LiveKit's Rust client sees and hears $video with $audio",
};
const urlKinds: Proof = {
  file: 'test/interop/url-kinds.test.ts',
  test: '%s: every picture in order, sound in step',
};

/** Input → room. */
export const INGRESS: readonly IngressRow[] = [
  {
    title: 'RTMP (ffmpeg, OBS)',
    passthrough: {
      file: 'test/interop/rtmp-ffmpeg.test.ts',
      test: 'H.264 without B-frames arrives byte for byte, with parameter sets before every key frame',
    },
    transcode: {
      file: 'test/interop/rtmp-ffmpeg.test.ts',
      test: 'B-frames are transcoded away, in order and with the reason told',
    },
  },
  { title: 'Enhanced RTMP (VP8, VP9, AV1; HEVC)', passthrough: enhanced, transcode: enhanced },
  {
    title: 'SRT (listener)',
    passthrough: {
      file: srtListener,
      test: 'ffmpeg: every picture in order, sound in step, states as for RTMP',
    },
    transcode: { file: srtListener, test: 'B-frames are transcoded away, in order' },
  },
  {
    title: 'RTMP in layers (multitrack; simulcast)',
    passthrough: { file: rtmpLayers, test: 'the video tracks of a multitrack encoder are layers' },
    transcode: {
      file: rtmpLayers,
      test: 'asked for layers, a picture that passes gets the lower ones encoded below it',
    },
  },
  {
    title: 'WHIP, FFmpeg',
    passthrough: {
      file: whipEncoders,
      test: "FFmpeg's WHIP muxer is seen and heard, flash and beep together",
    },
  },
  {
    title: 'WHIP, shaped like OBS',
    passthrough: {
      file: whipEncoders,
      test: 'an encoder shaped like OBS is seen and heard, and stops with DELETE',
    },
    transcode: {
      file: whipTranscode,
      test: 'an encoder like OBS that sends %s is decoded and encoded as its endpoint says',
    },
  },
  {
    title: 'WHIP, Chromium (VP8, H.264, VP9, AV1)',
    passthrough: {
      file: 'test/interop/whip-browser.test.ts',
      test: 'a browser with RTCPeerConnection and fetch publishes %s',
    },
    transcode: {
      file: whipTranscode,
      test: 'a browser is transcoded too, through an ICE restart and sizes that change',
    },
  },
  {
    title: 'URL, http(s) (MP4, MOV, Matroska, WebM, Ogg, MPEG-TS, HLS)',
    passthrough: urlKinds,
    transcode: urlKinds,
  },
  {
    title: 'URL, local file',
    passthrough: {
      file: 'test/interop/url-input.test.ts',
      test: 'may be a file below the folder the operator opened',
    },
  },
  {
    title: 'URL, s3',
    passthrough: {
      file: 'test/interop/url-s3.test.ts',
      test: 'plays with the keys of the configuration, looped',
    },
  },
  {
    title: 'URL, srt (caller)',
    passthrough: { file: urlLive, test: 'SRT: calls, and is complete when the peer has ended' },
    transcode: {
      file: urlLive,
      test: 'SRT with codecs no room takes: converted on the way, opened only once',
    },
  },
  {
    title: 'URL, rtsp',
    passthrough: { file: urlLive, test: 'RTSP from GStreamer, media on the same connection' },
  },
  {
    title: 'URL, rtsps',
    passthrough: { file: urlLive, test: 'RTSPS: plays with the authority of the configuration' },
  },
  {
    title: 'URL, rtmp (pulled)',
    passthrough: { file: urlLive, test: 'RTMP from nginx, without ffmpeg' },
  },
  {
    title: 'URL, rtmps (pulled)',
    passthrough: { file: urlLive, test: 'RTMPS: plays with the authority of the configuration' },
  },
];
