import type { Logger } from '../../base/logger.ts';
import { buildAacConfig } from '../../media/codecs/aac.ts';
import type { TemplateJob, ValidatedEgress } from '../../model/egress.ts';
import type { TrackFormat } from '../../model/packet.ts';
import { connectRoom } from '../../rtc-client/room-client.ts';
import type { HandlerTools, TrackFacts } from '../handler-messages.ts';
import { createPageSource } from './page-source.ts';
import type { EgressSource } from './source-types.ts';
import { createTrackSource } from './track-source.ts';

const AAC_LC = 2;

export type OpenedSource = {
  source: EgressSource;
  /** About the recorded track; '' everywhere for templates. Complete once the source has started. */
  facts: () => TrackFacts;
  /** The source may bring more than is asked for. */
  wants: (kind: 'video' | 'audio') => boolean;
  /** Formats that are certain before the first packet. */
  expectedFormats: readonly TrackFormat[];
};

export type CreateSource = (
  egress: ValidatedEgress,
  tools: HandlerTools,
  workDir: string,
  logger: Logger,
) => OpenedSource;

export const createSource: CreateSource = (egress, tools, workDir, logger) => {
  const { job, token, wsUrl } = egress;
  if (job.kind === 'track') {
    const { trackId } = job;
    const { trackWaitMs } = tools;
    const source = createTrackSource({ trackId, wsUrl, token, trackWaitMs, connect: connectRoom, logger });
    return { source, facts: () => source.facts, wants: () => true, expectedFormats: [] };
  }
  const { encoding, media, layout, customBaseUrl } = job;
  const source = createPageSource({
    target: {
      kind: 'template',
      baseUrl: customBaseUrl === '' ? undefined : customBaseUrl,
      layout,
      token,
      wsUrl,
    },
    width: encoding.width,
    height: encoding.height,
    framerate: encoding.framerate,
    videoBitrateKbps: encoding.videoBitrateKbps,
    keyFrameIntervalS: encoding.keyFrameIntervalS,
    audioCodec: media === 'video' ? 'none' : encoding.audioCodec,
    audioBitrateKbps: encoding.audioBitrateKbps,
    audioSampleRateHz: encoding.audioCodec === 'opus' ? 48_000 : encoding.audioSampleRateHz,
    awaitStartSignal: true,
    startTimeoutMs: tools.startSignalTimeoutMs,
    browserPath: tools.chromiumPath,
    ffmpegPath: tools.ffmpegPath,
    templatesDir: tools.templatesDir,
    tmpDir: workDir,
    logger,
  });
  return {
    source,
    facts: () => ({ trackId: '', publisherIdentity: '', trackType: '', trackSource: '' }),
    wants: (kind) => media === 'audio_video' || media === kind,
    expectedFormats: [audioFormatOf(job)],
  };
};

function audioFormatOf({ encoding }: TemplateJob): TrackFormat {
  if (encoding.audioCodec === 'opus') {
    return { kind: 'audio', codec: 'opus', sampleRateHz: 48_000, channels: 2 };
  }
  const sampleRateHz = encoding.audioSampleRateHz;
  return {
    kind: 'audio',
    codec: 'aac',
    sampleRateHz,
    channels: 2,
    description: buildAacConfig(AAC_LC, sampleRateHz, 2),
  };
}
