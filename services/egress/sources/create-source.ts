import type { Logger } from '../../base/logger.ts';
import { buildAacConfig } from '../../media/codecs/aac.ts';
import type { TemplateJob, ValidatedEgress } from '../../model/egress.ts';
import { mediaOf, type WebJob } from '../../model/egress-plan.ts';
import type { TrackFormat } from '../../model/packet.ts';
import type { Encoding } from '../../model/presets.ts';
import { connectRoom } from '../../rtc-client/room-client.ts';
import type { OpenBrowser } from '../browser/spare-browser.ts';
import type { HandlerTools, TrackFacts } from '../handler-messages.ts';
import { createMediaSource } from './media-source.ts';
import { createPageSource } from './page-source.ts';
import type { PageTarget } from './page-target.ts';
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

/** @param openBrowser gets the browsers of jobs that need one. */
export const sourcesWith =
  (openBrowser: OpenBrowser): CreateSource =>
  (egress, tools, workDir, logger) => {
    const { job, encoding, token, wsUrl } = egress;
    if (encoding === null) {
      const { trackId } = job;
      const { trackWaitMs } = tools;
      const source = createTrackSource({ trackId, wsUrl, token, trackWaitMs, connect: connectRoom, logger });
      return { source, facts: () => source.facts, wants: () => true, expectedFormats: [] };
    }
    if (job.kind === 'media') {
      const { trackWaitMs: waitMs, ffmpegPath } = tools;
      const connect = connectRoom;
      const source = createMediaSource({ job, encoding, wsUrl, token, waitMs, ffmpegPath, connect, logger });
      const expectedFormats = mediaOf(job) === 'video' ? [] : [audioFormatOf(encoding)];
      return { source, facts: () => source.facts, wants: () => true, expectedFormats };
    }
    const { media } = job;
    const source = createPageSource({
      target: pageTarget(job, egress),
      width: encoding.width,
      height: encoding.height,
      framerate: encoding.framerate,
      videoBitrateKbps: encoding.videoBitrateKbps,
      keyFrameIntervalS: encoding.keyFrameIntervalS,
      audioCodec: media === 'video' ? 'none' : encoding.audioCodec,
      audioBitrateKbps: encoding.audioBitrateKbps,
      audioSampleRateHz: encoding.audioSampleRateHz,
      awaitStartSignal: job.kind === 'template' || job.awaitStartSignal,
      startTimeoutMs: tools.startSignalTimeoutMs,
      browserPath: tools.chromiumPath,
      openBrowser,
      ffmpegPath: tools.ffmpegPath,
      templatesDir: tools.templatesDir,
      tmpDir: workDir,
      logger,
    });
    return {
      source,
      facts: () => ({ trackId: '', publisherIdentity: '', trackType: '', trackSource: '' }),
      wants: (kind) => media === 'audio_video' || media === kind,
      expectedFormats: media === 'video' ? [] : [audioFormatOf(encoding)],
    };
  };

function pageTarget(job: TemplateJob | WebJob, { token, wsUrl }: ValidatedEgress): PageTarget {
  if (job.kind === 'web') {
    return { kind: 'url', url: job.url };
  }
  const { customBaseUrl, layout } = job;
  const baseUrl = customBaseUrl === '' ? undefined : customBaseUrl;
  return { kind: 'template', baseUrl, layout, token, wsUrl };
}

function audioFormatOf({ audioCodec, audioSampleRateHz: sampleRateHz }: Encoding): TrackFormat {
  if (audioCodec === 'opus') {
    return { kind: 'audio', codec: 'opus', sampleRateHz, channels: 2 };
  }
  const description = buildAacConfig(AAC_LC, sampleRateHz, 2);
  return { kind: 'audio', codec: 'aac', sampleRateHz, channels: 2, description };
}
