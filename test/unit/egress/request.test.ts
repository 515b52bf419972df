import * as livekit from '@livekit/protocol';
import { describe, expect, it } from 'vitest';
import type { StorageTarget } from '../../../services/model/egress.ts';
import { readRequest } from '../../../services/model/egress-request.ts';

const LOCAL: StorageTarget = { kind: 'local', rootDir: '/recordings' };
const { EncodingOptionsPreset, EncodedFileType } = livekit;
type Fields<T> = ConstructorParameters<new (data?: T) => unknown>[0];

const file = (fields: Fields<Partial<livekit.EncodedFileOutput>> = {}) =>
  new livekit.EncodedFileOutput({ filepath: 'x', ...fields });
const composite = (fields: object) =>
  readRequest(
    {
      case: 'roomComposite',
      value: new livekit.RoomCompositeEgressRequest({ fileOutputs: [file()], ...fields }),
    },
    LOCAL,
  );
const track = (fields: object) =>
  readRequest(
    {
      case: 'track',
      value: new livekit.TrackEgressRequest({
        trackId: 'TR_1',
        output: { case: 'file', value: new livekit.DirectFileOutput({ filepath: 'x' }) },
        ...fields,
      }),
    },
    LOCAL,
  );
const v2 = (fields: object) =>
  readRequest(
    {
      case: 'egress',
      value: new livekit.StartEgressRequest({
        source: { case: 'template', value: new livekit.TemplateSource({ layout: 'grid' }) },
        outputs: [
          new livekit.Output({ config: { case: 'file', value: new livekit.FileOutput({ filepath: 'x' }) } }),
        ],
        ...fields,
      }),
    },
    LOCAL,
  );
const passthrough = (media: object) =>
  v2({
    source: { case: 'media', value: new livekit.MediaSource(media) },
    encoding: { case: 'preset', value: EncodingOptionsPreset.PASSTHROUGH },
  });
const advanced = (fields: object) => ({
  options: { case: 'advanced', value: new livekit.EncodingOptions(fields) },
});
const s3 = (fields: object) => new livekit.S3Upload({ bucket: 'b', accessKey: 'k', secret: 's', ...fields });
const segments = (fields: object = {}) => new livekit.SegmentedFileOutput({ playlistName: 'p', ...fields });
const streams = (fields: object = {}) => new livekit.StreamOutput({ urls: ['rtmp://x/live/key'], ...fields });
const participant = (fields: object) =>
  readRequest(
    {
      case: 'participant',
      value: new livekit.ParticipantEgressRequest({ identity: 'alice', fileOutputs: [file()], ...fields }),
    },
    LOCAL,
  );
const trackComposite = (fields: object) =>
  readRequest(
    {
      case: 'trackComposite',
      value: new livekit.TrackCompositeEgressRequest({ fileOutputs: [file()], ...fields }),
    },
    LOCAL,
  );
const inS3 = (fields: object) => ({ fileOutputs: [file({ output: { case: 's3', value: s3(fields) } })] });

describe('egress requests become jobs', () => {
  it("uses LiveKit's defaults: 1280x720, 30 frames, 3000 kbit/s, AAC 128 kbit/s at 44.1 kHz, MP4", () => {
    expect(composite({ layout: 'speaker' })).toEqual({
      job: {
        kind: 'template',
        layout: 'speaker',
        customBaseUrl: '',
        media: 'audio_video',
      },
      encoding: {
        width: 1280,
        height: 720,
        framerate: 30,
        videoBitrateKbps: 3000,
        keyFrameIntervalS: 4,
        audioBitrateKbps: 128,
        audioSampleRateHz: 44_100,
        audioCodec: 'aac',
      },
      outputs: {
        file: { kind: 'mp4', filepath: 'x', disableManifest: false, storage: LOCAL },
        images: [],
      },
      webhooks: [],
    });
  });

  it.each([
    [0, 1280, 720, 30, 3000],
    [3, 1920, 1080, 60, 6000],
    [5, 720, 1280, 60, 4500],
    [6, 1080, 1920, 30, 4500],
  ])('preset %i is %ix%i at %i with %i kbit/s', (preset, width, height, framerate, videoBitrateKbps) => {
    const { encoding } = composite({ options: { case: 'preset', value: preset } });
    expect(encoding).toMatchObject({ width, height, framerate, videoBitrateKbps });
  });

  it('takes advanced options over the defaults', () => {
    const { encoding } = composite(
      advanced({ width: 640, height: 360, audioCodec: livekit.AudioCodec.OPUS, keyFrameInterval: 2 }),
    );
    expect(encoding).toMatchObject({
      ...{ width: 640, height: 360, framerate: 30 },
      ...{ audioCodec: 'opus', audioSampleRateHz: 48_000, keyFrameIntervalS: 2 },
    });
  });

  it('records sound alone as Opus in Ogg, or AAC in MP4 when MP4 is asked for', () => {
    expect(composite({ audioOnly: true, layout: 'grid' })).toMatchObject({
      job: { kind: 'template', media: 'audio' },
      outputs: { file: { kind: 'ogg' } },
      encoding: { audioCodec: 'opus' },
    });
    const mp4 = composite({ audioOnly: true, fileOutputs: [file({ fileType: EncodedFileType.MP4 })] });
    expect(mp4).toMatchObject({ outputs: { file: { kind: 'mp4' } }, encoding: { audioCodec: 'aac' } });
  });

  it('reads the deprecated single output, the old track request and both new shapes', () => {
    expect(
      composite({ fileOutputs: [], output: { case: 'file', value: file({ filepath: 'old' }) } }).outputs.file
        ?.filepath,
    ).toBe('old');
    expect(track({}).job).toEqual({ kind: 'track', trackId: 'TR_1' });
    expect(v2({}).job).toMatchObject({ kind: 'template', layout: 'grid' });
    expect(passthrough({ video: { case: 'videoTrackId', value: 'TR_v' } }).job).toEqual({
      kind: 'track',
      trackId: 'TR_v',
    });
    const audio = new livekit.AudioConfig({
      routes: [new livekit.AudioRoute({ match: { case: 'trackId', value: 'TR_a' } })],
    });
    expect(passthrough({ audio }).job).toEqual({ kind: 'track', trackId: 'TR_a' });
  });

  it('reads participants, track pairs and rooms without a page as media', () => {
    expect(participant({ screenShare: true })).toMatchObject({
      job: {
        kind: 'media',
        video: { from: 'participant', identity: 'alice', preferScreenShare: true },
        audio: {
          routes: [{ match: { by: 'participant', identity: 'alice', source: 'screen_share_audio' } }],
        },
        endsWith: 'participant',
      },
      outputs: { file: { kind: 'mp4' } },
    });
    expect(trackComposite({ audioTrackId: 'TR_a' })).toMatchObject({
      job: { video: { from: 'none' }, audio: { captureAll: false }, endsWith: 'tracks' },
      outputs: { file: { kind: 'ogg' } },
      encoding: { audioCodec: 'opus' },
    });
    expect(
      composite({ audioOnly: true, audioMixing: livekit.AudioMixing.DUAL_CHANNEL_AGENT }).job,
    ).toMatchObject({
      kind: 'media',
      video: { from: 'none' },
      audio: { captureAll: true, mixing: 'dual_channel_agent' },
      endsWith: 'room',
    });
    const audio = new livekit.AudioConfig({
      captureAll: true,
      routes: [
        new livekit.AudioRoute({
          match: { case: 'participantIdentity', value: 'bob' },
          channel: livekit.AudioChannel.LEFT,
        }),
      ],
    });
    expect(v2({ source: { case: 'media', value: new livekit.MediaSource({ audio }) } }).job).toMatchObject({
      audio: {
        captureAll: true,
        routes: [{ match: { by: 'participant', identity: 'bob', source: 'any' }, channel: 'left' }],
      },
      endsWith: 'room',
    });
  });

  it('reads pages with every output at once: one AAC and one H.264 encode, key frames as the segments need', () => {
    const requested = readRequest(
      {
        case: 'web',
        value: new livekit.WebEgressRequest({
          url: 'https://x/y',
          awaitStartSignal: true,
          fileOutputs: [file()],
          segmentOutputs: [segments({ segmentDuration: 2, livePlaylistName: 'live' })],
          streamOutputs: [streams()],
          imageOutputs: [new livekit.ImageOutput({ captureInterval: 5, width: 320, height: 180 })],
          webhooks: [new livekit.WebhookConfig({ url: 'https://hook/', signingKey: 'key' })],
        }),
      },
      LOCAL,
    );
    expect(requested).toMatchObject({
      job: { kind: 'web', url: 'https://x/y', media: 'audio_video', awaitStartSignal: true },
      encoding: { audioCodec: 'aac', keyFrameIntervalS: 2 },
      outputs: {
        file: { kind: 'mp4' },
        segments: {
          playlistName: 'p',
          livePlaylistName: 'live',
          segmentDurationS: 2,
          suffix: 'index',
          storage: LOCAL,
        },
        streams: { protocol: 'rtmp', urls: ['rtmp://x/live/key'] },
        images: [{ captureIntervalS: 5, width: 320, height: 180, suffix: 'index' }],
      },
      webhooks: [{ url: 'https://hook/', signingKey: 'key' }],
    });
  });

  it.each([
    [{ streamOutputs: [streams()] }, 'mp4', 'aac', 4],
    [{ segmentOutputs: [segments({ segmentDuration: 6 })] }, 'mp4', 'aac', 6],
    [{ segmentOutputs: [segments({ segmentDuration: 6 })], streamOutputs: [streams()] }, 'mp4', 'aac', 4],
    [{ ...advanced({ keyFrameInterval: 1 }), streamOutputs: [streams()] }, 'mp4', 'aac', 1],
    [{ audioOnly: true, layout: 'x', streamOutputs: [streams()] }, 'mp4', 'aac', 4],
    [{ audioOnly: true, layout: 'x' }, 'ogg', 'opus', 4],
  ] as const)('chooses file type, codec and key frames for %#', (fields, kind, audioCodec, interval) => {
    expect(composite(fields)).toMatchObject({
      outputs: { file: { kind } },
      encoding: { audioCodec, keyFrameIntervalS: interval },
    });
  });

  it('takes no sound for pictures alone', () => {
    const images = [new livekit.ImageOutput()];
    expect(composite({ fileOutputs: [], imageOutputs: images }).job).toMatchObject({ media: 'video' });
    expect(participant({ fileOutputs: [], imageOutputs: images }).job).toMatchObject({
      audio: { captureAll: false, routes: [] },
    });
  });

  it('prefers the storage of the output over that of the request over the default', () => {
    const config = (bucket: string) =>
      new livekit.StorageConfig({ provider: { case: 's3', value: s3({ bucket }) } });
    const output = new livekit.Output({
      config: { case: 'file', value: new livekit.FileOutput({ filepath: 'x' }) },
      storage: config('of-output'),
    });
    expect(v2({ outputs: [output], storage: config('of-request') }).outputs.file?.storage).toMatchObject({
      bucket: 'of-output',
    });
    expect(v2({ storage: config('of-request') }).outputs.file?.storage).toMatchObject({
      bucket: 'of-request',
    });
    expect(v2({}).outputs.file?.storage).toEqual(LOCAL);
  });

  it('completes an S3 target', () => {
    expect(composite(inS3({ endpoint: 'minio.example:9000/' })).outputs.file?.storage).toMatchObject({
      endpoint: 'https://minio.example:9000',
      contentDisposition: 'inline',
      region: '',
    });
  });
});

describe('egress requests that are refused name the field', () => {
  const invalid: [string, () => unknown, RegExp][] = [
    ['no request', () => readRequest({ case: undefined }, LOCAL), /: request$/],
    ['no output', () => composite({ fileOutputs: [] }), /: output$/],
    ['odd width', () => composite(advanced({ width: 641 })), /: width$/],
    ['tiny height', () => composite(advanced({ height: 8 })), /: height$/],
    ['too many pixels', () => composite(advanced({ width: 8192, height: 8192 })), /: width$/],
    ['depth', () => composite(advanced({ depth: 12 })), /: depth$/],
    ['frame rate', () => composite(advanced({ framerate: -1 })), /: framerate$/],
    ['sample rate', () => composite(advanced({ audioFrequency: 12_345 })), /: audio_frequency$/],
    ['bit rate', () => composite(advanced({ videoBitrate: 1e9 })), /: video_bitrate$/],
    ['both onlies', () => composite({ audioOnly: true, videoOnly: true }), /audio_only and video_only/],
    ['page address', () => composite({ customBaseUrl: 'file:///etc/passwd' }), /: custom_base_url$/],
    [
      'picture in Ogg',
      () => composite({ fileOutputs: [file({ fileType: EncodedFileType.OGG })] }),
      /format OGG incompatible with codec H264/,
    ],
    ['no track', () => track({ trackId: '' }), /: track_id$/],
    ['track without output', () => track({ output: { case: undefined } }), /: output$/],
    ['no bucket', () => composite(inS3({ bucket: '' })), /: s3.bucket$/],
    ['half a key', () => composite(inS3({ secret: '' })), /: s3.secret$/],
    ['endpoint', () => composite(inS3({ endpoint: 'http://' })), /: s3.endpoint$/],
    ['no source', () => v2({ source: { case: undefined } }), /: source$/],
    [
      'template as passthrough',
      () => v2({ encoding: { case: 'preset', value: EncodingOptionsPreset.PASSTHROUGH } }),
      /PASSTHROUGH needs a media source/,
    ],
    ['no passthrough track', () => passthrough({}), /exactly one track/],
    ['two files', () => composite({ fileOutputs: [file(), file()] }), /: file_outputs \(at most one\)/],
    [
      'two segment outputs',
      () => composite({ segmentOutputs: [segments(), segments()] }),
      /: segment_outputs \(at most one\)/,
    ],
    [
      'channel split of a page',
      () => composite({ layout: 'grid', audioMixing: livekit.AudioMixing.DUAL_CHANNEL_AGENT }),
      /: audio_mixing/,
    ],
    [
      'no page',
      () =>
        readRequest(
          { case: 'web', value: new livekit.WebEgressRequest({ fileOutputs: [file()], url: 'file:///x' }) },
          LOCAL,
        ),
      /: url$/,
    ],
    ['no participant', () => participant({ identity: '' }), /: identity$/],
    ['no tracks', () => trackComposite({}), /: audio_track_id or video_track_id$/],
    [
      'empty media',
      () => v2({ source: { case: 'media', value: new livekit.MediaSource() } }),
      /neither video/,
    ],
    [
      'stream address',
      () => composite({ streamOutputs: [streams({ urls: ['http://x/'] })] }),
      /: stream_outputs.urls/,
    ],
    [
      'two protocols',
      () => composite({ streamOutputs: [streams({ urls: ['rtmp://x/y/z', 'srt://x:1'] })] }),
      /all must be RTMP/,
    ],
    [
      'sound of a stream',
      () =>
        composite({
          ...advanced({ audioCodec: livekit.AudioCodec.OPUS }),
          streamOutputs: [streams()],
        }),
      /^format RTMP incompatible with codec OPUS$/,
    ],
    [
      'nothing in common',
      () =>
        composite({
          ...{ audioOnly: true, streamOutputs: [streams()] },
          fileOutputs: [file({ fileType: EncodedFileType.OGG })],
        }),
      /^no supported codec is compatible with all outputs$/,
    ],
    [
      'pictures of sound',
      () => composite({ audioOnly: true, imageOutputs: [new livekit.ImageOutput()] }),
      /: image_outputs/,
    ],
    [
      'passthrough to segments',
      () =>
        v2({
          source: {
            case: 'media',
            value: new livekit.MediaSource({ video: { case: 'videoTrackId', value: 'TR_v' } }),
          },
          encoding: { case: 'preset', value: EncodingOptionsPreset.PASSTHROUGH },
          outputs: [new livekit.Output({ config: { case: 'segments', value: segments() } })],
        }),
      /: outputs \(PASSTHROUGH/,
    ],
    [
      'webhook address',
      () => track({ webhooks: [new livekit.WebhookConfig({ url: 'x' })] }),
      /: webhooks.url/,
    ],
    ['unknown preset', () => composite({ options: { case: 'preset', value: 99 } }), /: preset$/],
  ];
  it.each(invalid)('invalid: %s', (_name, read, message) => {
    expect(read).toThrow(
      expect.objectContaining({
        code: 'invalid_argument',
        message: expect.stringMatching(message) as string,
      }),
    );
  });

  const unimplemented: [string, () => unknown, RegExp][] = [
    [
      'websocket',
      () => composite({ streamOutputs: [streams({ protocol: livekit.StreamProtocol.WEBSOCKET })] }),
      /^stream_outputs.protocol WEBSOCKET/,
    ],
    [
      'MP3',
      () => composite({ audioOnly: true, fileOutputs: [file({ fileType: EncodedFileType.MP3 })] }),
      /^file_type MP3/,
    ],
    [
      'Google storage',
      () => composite({ fileOutputs: [file({ output: { case: 'gcp', value: new livekit.GCPUpload() } })] }),
      /^gcp storage/,
    ],
    [
      'Azure storage',
      () =>
        composite({
          fileOutputs: [file({ output: { case: 'azure', value: new livekit.AzureBlobUpload() } })],
        }),
      /^azure storage/,
    ],
    ['S3 role', () => composite(inS3({ assumeRoleArn: 'arn:x' })), /^s3.assume_role_arn/],
    ['S3 proxy', () => composite(inS3({ proxy: new livekit.ProxyConfig() })), /^s3.proxy/],
  ];
  it.each(unimplemented)('not yet: %s', (_name, read, message) => {
    expect(read).toThrow(
      expect.objectContaining({ code: 'unimplemented', message: expect.stringMatching(message) as string }),
    );
  });
});
