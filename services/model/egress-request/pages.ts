import type { TemplateJob } from '../egress.ts';
import type { AudioSelection, MediaJob, WebJob } from '../egress-plan.ts';
import { invalidField } from '../presets.ts';
import { mediaFrom } from './complete.ts';

type PageFlags = { audioOnly: boolean; videoOnly: boolean };

/**
 * A room through a page. Sound alone needs no page unless one is named (LiveKit's rule).
 * @throws ServiceError invalid_argument naming the field.
 */
export function roomJob(
  source: PageFlags & { layout: string; customBaseUrl: string },
  mixing: AudioSelection['mixing'],
): TemplateJob | MediaJob {
  const { layout, customBaseUrl } = source;
  const media = mediaFrom(source);
  if (customBaseUrl !== '' && !isPageAddress(customBaseUrl)) {
    throw invalidField('custom_base_url');
  }
  if (media === 'audio' && layout === '' && customBaseUrl === '') {
    return {
      kind: 'media',
      video: { from: 'none' },
      audio: { captureAll: true, routes: [], mixing },
      endsWith: 'room',
    };
  }
  if (mixing !== 'default') {
    throw invalidField('audio_mixing (only with audio_only, without layout and custom_base_url)');
  }
  return { kind: 'template', layout, customBaseUrl, media };
}

/** @throws ServiceError invalid_argument naming the field. */
export function webJob(source: PageFlags & { url: string; awaitStartSignal: boolean }): WebJob {
  if (!isPageAddress(source.url)) {
    throw invalidField('url');
  }
  return {
    kind: 'web',
    url: source.url,
    media: mediaFrom(source),
    awaitStartSignal: source.awaitStartSignal,
  };
}

function isPageAddress(text: string): boolean {
  return /^https?:\/\/./i.test(text) && URL.canParse(text);
}
