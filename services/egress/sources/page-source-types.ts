import type { Logger } from '../../base/logger.ts';
import type { OpenBrowser } from '../browser/spare-browser.ts';
import type { PageTarget } from './page-target.ts';

export type PageSourceOptions = {
  target: PageTarget;
  /** Even, at least 16. */
  width: number;
  height: number;
  framerate: number;
  videoBitrateKbps: number;
  keyFrameIntervalS: number;
  /** 'none' = a recording without sound. */
  audioCodec: 'aac' | 'opus' | 'none';
  audioBitrateKbps: number;
  /** Of the encoded sound; Opus is always 48000. */
  audioSampleRateHz: number;
  /** true: templates and pages that print START_RECORDING; false: recording starts when the page has loaded. */
  awaitStartSignal: boolean;
  startTimeoutMs: number;
  browserPath: string;
  /** How to get a browser; by default a new one is started. */
  openBrowser?: OpenBrowser;
  ffmpegPath: string;
  /** dist/templates */
  templatesDir: string;
  tmpDir: string;
  logger: Logger;
};
