import { describe, expect, test } from 'vitest';
import { browserFlags } from '../../../services/egress/browser/flags.ts';
import { parseBrowserVersion, probeBrowser } from '../../../services/egress/browser/probe.ts';
import { h264CodecString } from '../../../services/egress/capture/h264-level.ts';

const OPTIONS = {
  width: 1280,
  height: 720,
  profileDir: '/tmp/p',
  captureTabTitle: 'capture-x',
  isRoot: false,
  sharedMemoryBytes: 8e9,
};

describe('browserFlags', () => {
  test('the sandbox is given up for root only, shared memory only where it is small', () => {
    expect(browserFlags(OPTIONS)).not.toContain('--no-sandbox');
    expect(browserFlags({ ...OPTIONS, isRoot: true })).toContain('--no-sandbox');
    expect(browserFlags(OPTIONS)).not.toContain('--disable-dev-shm-usage');
    expect(browserFlags({ ...OPTIONS, sharedMemoryBytes: 64 * 2 ** 20 })).toContain(
      '--disable-dev-shm-usage',
    );
  });
});

describe('probeBrowser', () => {
  test.each([
    ['Chromium 156.0.8078.79 built on Debian GNU/Linux 12 (bookworm)', 156],
    ['Google Chrome 141.0.7390.54 ', 141],
    ['Google Chrome for Testing 130.0.6723.58', 130],
  ])('%s', (output, majorVersion) => {
    expect(parseBrowserVersion('/c', output).majorVersion).toBe(majorVersion);
  });

  test('an old browser, another program and a missing file are refused by name', async () => {
    expect(() => parseBrowserVersion('/c', 'Chromium 90.0.4430.212')).toThrow(/"\/c" is version 90.*120/);
    expect(() => parseBrowserVersion('/c', 'Mozilla Firefox 153.0')).toThrow(/does not answer like Chrome/);
    await expect(probeBrowser('/nonexistent/chrome')).rejects.toThrow(/\/nonexistent\/chrome/);
  });
});

describe('h264CodecString', () => {
  test.each([
    [640, 360, 30, 'avc1.42E01E'],
    [1280, 720, 30, 'avc1.42E01F'],
    [720, 1280, 30, 'avc1.42E01F'],
    [1280, 720, 60, 'avc1.42E020'],
    [1920, 1080, 30, 'avc1.42E028'],
    [1920, 1080, 60, 'avc1.42E02A'],
    [3840, 2160, 30, 'avc1.42E033'],
  ])('%i x %i at %i', (width, height, framerate, codec) => {
    expect(h264CodecString(width, height, framerate)).toBe(codec);
  });
});
