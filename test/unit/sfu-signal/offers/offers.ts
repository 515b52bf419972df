import { readFileSync } from 'node:fs';

const read = (name: string): string => readFileSync(new URL(name, import.meta.url), 'utf8');

/** Chromium 156, recorded: three audio and three video receive-only sections and a data channel. */
export const PLACEHOLDERS = read('chromium-placeholders.sdp');

/** Chromium 156, recorded: mids 0 audio and 1 video recvonly, 2 audio, 3 simulcast video, 4 plain video, 5 data. */
export const PUBLISH = read('chromium-publish.sdp');
export const PUBLISH_TRACK_IDS = {
  audio: 'bd08b6c4-8e5a-44c0-be17-2e33917ef157',
  simulcast: 'f7e5a884-5958-442e-b371-a1d1126cf75f',
  plain: 'aac8c62c-90e6-4da3-ab21-3a550ecfb7e9',
};
