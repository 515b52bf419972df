import { describe, expect, test } from 'vitest';
import { createLogger } from '../../../services/base/logger.ts';
import { PageConsole } from '../../../services/egress/sources/page-console.ts';
import { pageUrl } from '../../../services/egress/sources/page-target.ts';
import { initialsOf } from '../../../templates/composite/initials.ts';
import { mayStart } from '../../../templates/composite/start-rule.ts';

describe('pageUrl', () => {
  const template = { kind: 'template', layout: 'speaker', token: 'a.b.c', wsUrl: 'ws://h:7880' } as const;

  test('a template gets layout, token and url, merged into what the base URL has', () => {
    const url = new URL(
      pageUrl({ ...template, baseUrl: 'https://t.example/x?brand=1&layout=old#top' }, 'http://127.0.0.1/c/'),
    );
    expect(Object.fromEntries(url.searchParams)).toEqual({
      brand: '1',
      layout: 'speaker',
      token: 'a.b.c',
      url: 'ws://h:7880',
    });
    expect(url.hash).toBe('#top');
  });

  test('without a base URL the built-in page is used', () => {
    expect(pageUrl({ ...template, baseUrl: undefined }, 'http://127.0.0.1:9/composite/')).toMatch(
      /^http:\/\/127\.0\.0\.1:9\/composite\/\?layout=speaker&/,
    );
  });

  test.each(['', 'example.com', 'file:///etc/passwd', 'javascript:alert(1)'])('%j is refused', (url) => {
    expect(() => pageUrl({ kind: 'url', url }, '')).toThrow(/^invalid url: /);
  });
});

describe('PageConsole', () => {
  function listen() {
    const signals: string[] = [];
    const page = new PageConsole(createLogger({ level: 'silent' }));
    page.events.on('start_recording', () => signals.push('start'));
    page.events.on('end_recording', () => signals.push('end'));
    return { page, signals };
  }

  test('signals are whole arguments, as LiveKit reads them', () => {
    const { page, signals } = listen();
    page.addCall('log', [{ type: 'string', value: 'not START_RECORDING yet' }]);
    page.addCall('log', [
      { type: 'number', value: 1 },
      { type: 'string', value: 'START_RECORDING' },
    ]);
    page.addCall('info', [{ type: 'string', value: 'END_RECORDING' }]);
    expect(signals).toEqual(['start', 'end']);
  });

  test('keeps a bounded, redacted tail', () => {
    const { page } = listen();
    for (let index = 0; index < 1000; index += 1) {
      page.addCall('log', [{ type: 'string', value: 'x'.repeat(100_000) }]);
    }
    page.addCall('error', [{ type: 'string', value: 'GET https://h/?token=secret-thing failed' }]);
    expect(page.lines.length).toBe(50);
    expect(page.lines.join('').length).toBeLessThan(20_000);
    expect(page.lastWords(1)).toBe('error: GET https://h/?token=[redacted] failed');
  });
});

describe('mayStart', () => {
  const nothing = {
    isFlowing: false,
    pictureForMs: undefined,
    hasVideo: false,
    subscribedForMs: undefined,
  };

  test.each([
    ['nobody publishes', nothing, false],
    ['a picture moves', { ...nothing, isFlowing: true, hasVideo: true, subscribedForMs: 300 }, true],
    ['a first frame', { ...nothing, pictureForMs: 100, hasVideo: true, subscribedForMs: 400 }, false],
    ['a still picture', { ...nothing, pictureForMs: 700, hasVideo: true, subscribedForMs: 900 }, true],
    ['sound, just now', { ...nothing, subscribedForMs: 400 }, false],
    ['sound only', { ...nothing, subscribedForMs: 500 }, true],
    ['video that does not decode yet', { ...nothing, hasVideo: true, subscribedForMs: 4_900 }, false],
    ['video that never decodes', { ...nothing, hasVideo: true, subscribedForMs: 5_000 }, true],
  ])('%s', (_name, facts, expected) => {
    expect(mayStart(facts)).toBe(expected);
  });
});

describe('initialsOf', () => {
  test.each([
    ['Ada Lovelace', 'AL'],
    ['obs-studio', 'OS'],
    ['grace', 'G'],
    ['李小龙', '李'],
    ['👩‍🚀 Sally Ride', '👩‍🚀S'],
    ['  ', ''],
  ])('%j → %j', (name, initials) => {
    expect(initialsOf(name)).toBe(initials);
  });
});
