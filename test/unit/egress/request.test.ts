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
const inS3 = (fields: object) => ({ fileOutputs: [file({ output: { case: 's3', value: s3(fields) } })] });

describe('egress requests become jobs', () => {
  it("uses LiveKit's defaults: 1280x720, 30 frames, 3000 kbit/s, AAC 128 kbit/s at 44.1 kHz, MP4", () => {
    expect(composite({ layout: 'speaker' })).toEqual({
      job: {
        kind: 'template',
        layout: 'speaker',
        customBaseUrl: '',
        media: 'audio_video',
        container: 'mp4',
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
      },
      file: { filepath: 'x', disableManifest: false, storage: LOCAL },
    });
  });

  it.each([
    [0, 1280, 720, 30, 3000],
    [3, 1920, 1080, 60, 6000],
    [5, 720, 1280, 60, 4500],
    [6, 1080, 1920, 30, 4500],
  ])('preset %i is %ix%i at %i with %i kbit/s', (preset, width, height, framerate, videoBitrateKbps) => {
    const { job } = composite({ options: { case: 'preset', value: preset } });
    expect(job).toMatchObject({ encoding: { width, height, framerate, videoBitrateKbps } });
  });

  it('takes advanced options over the defaults', () => {
    const { job } = composite(
      advanced({ width: 640, height: 360, audioCodec: livekit.AudioCodec.OPUS, keyFrameInterval: 2 }),
    );
    expect(job).toMatchObject({
      encoding: { width: 640, height: 360, framerate: 30, audioCodec: 'opus', keyFrameIntervalS: 2 },
    });
  });

  it('records sound alone as Opus in Ogg, or AAC in MP4 when MP4 is asked for', () => {
    expect(composite({ audioOnly: true }).job).toMatchObject({
      media: 'audio',
      container: 'ogg',
      encoding: { audioCodec: 'opus' },
    });
    const mp4 = composite({ audioOnly: true, fileOutputs: [file({ fileType: EncodedFileType.MP4 })] });
    expect(mp4.job).toMatchObject({ container: 'mp4', encoding: { audioCodec: 'aac' } });
  });

  it('reads the deprecated single output, the old track request and both new shapes', () => {
    expect(
      composite({ fileOutputs: [], output: { case: 'file', value: file({ filepath: 'old' }) } }).file
        .filepath,
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

  it('prefers the storage of the output over that of the request over the default', () => {
    const config = (bucket: string) =>
      new livekit.StorageConfig({ provider: { case: 's3', value: s3({ bucket }) } });
    const output = new livekit.Output({
      config: { case: 'file', value: new livekit.FileOutput({ filepath: 'x' }) },
      storage: config('of-output'),
    });
    expect(v2({ outputs: [output], storage: config('of-request') }).file.storage).toMatchObject({
      bucket: 'of-output',
    });
    expect(v2({ storage: config('of-request') }).file.storage).toMatchObject({ bucket: 'of-request' });
    expect(v2({}).file.storage).toEqual(LOCAL);
  });

  it('completes an S3 target', () => {
    expect(composite(inS3({ endpoint: 'minio.example:9000/' })).file.storage).toMatchObject({
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

  const media = { case: 'media', value: new livekit.MediaSource() };
  const unimplemented: [string, () => unknown, RegExp][] = [
    ['web', () => readRequest({ case: 'web', value: new livekit.WebEgressRequest() }, LOCAL), /^web egress/],
    [
      'participant',
      () => readRequest({ case: 'participant', value: new livekit.ParticipantEgressRequest() }, LOCAL),
      /^participant egress/,
    ],
    [
      'track composite',
      () => readRequest({ case: 'trackComposite', value: new livekit.TrackCompositeEgressRequest() }, LOCAL),
      /^track composite egress/,
    ],
    ['stream outputs', () => composite({ streamOutputs: [new livekit.StreamOutput()] }), /^stream_outputs/],
    [
      'segments',
      () => composite({ segmentOutputs: [new livekit.SegmentedFileOutput()] }),
      /^segment_outputs/,
    ],
    ['images', () => composite({ imageOutputs: [new livekit.ImageOutput()] }), /^image_outputs/],
    ['webhooks', () => track({ webhooks: [new livekit.WebhookConfig()] }), /^webhooks/],
    ['two files', () => composite({ fileOutputs: [file(), file()] }), /^more than one of file_outputs/],
    [
      'MP3',
      () => composite({ audioOnly: true, fileOutputs: [file({ fileType: EncodedFileType.MP3 })] }),
      /^file_type MP3/,
    ],
    [
      'channel split',
      () => composite({ audioMixing: livekit.AudioMixing.DUAL_CHANNEL_AGENT }),
      /^audio_mixing/,
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
    ['transcoded media', () => v2({ source: media }), /^media source without preset PASSTHROUGH/],
    ['web source', () => v2({ source: { case: 'web', value: new livekit.WebSource() } }), /^web source/],
    [
      'participant video',
      () => passthrough({ video: { case: 'participantVideo', value: new livekit.ParticipantVideo() } }),
      /^media.participant_video/,
    ],
    [
      'stream output',
      () =>
        v2({
          outputs: [new livekit.Output({ config: { case: 'stream', value: new livekit.StreamOutput() } })],
        }),
      /^stream output/,
    ],
  ];
  it.each(unimplemented)('not yet: %s', (_name, read, message) => {
    expect(read).toThrow(
      expect.objectContaining({ code: 'unimplemented', message: expect.stringMatching(message) as string }),
    );
  });
});
