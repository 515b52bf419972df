import { describe, expect, it } from 'vitest';
import { splitPlayOptions } from '../../../services/ingress/url/url-options.ts';

const plain = { plays: 1, startS: 0, holdS: 0 };

describe('options in the fragment of an address', () => {
  it.each([
    ['http://a/b.mp4', 'http://a/b.mp4', plain],
    ['http://a/b.mp4?x=1#sluice_loop=3', 'http://a/b.mp4?x=1', { ...plain, plays: 3 }],
    ['http://a/b.mp4#sluice_loop=forever', 'http://a/b.mp4', { ...plain, plays: Number.POSITIVE_INFINITY }],
    ['s3://b/k#sluice_start=12.5&sluice_hold=10', 's3://b/k', { plays: 1, startS: 12.5, holdS: 10 }],
    ['http://a/b.mp4#t=10', 'http://a/b.mp4#t=10', plain],
    ['http://a/b.mp4#t=10&sluice_hold=1', 'http://a/b.mp4#t=10', { ...plain, holdS: 1 }],
  ])('%s', (url, rest, options) => {
    expect(splitPlayOptions(url)).toEqual({ url: rest, options });
  });

  it.each([
    ['#sluice_speed=2', 'unknown option sluice_speed (known: sluice_loop, sluice_start, sluice_hold)'],
    ['#sluice_loop=0', 'sluice_loop takes a number from 1 to 100000, or forever'],
    ['#sluice_loop=1.5', 'sluice_loop takes a number from 1 to 100000, or forever'],
    ['#sluice_start=-1', 'sluice_start takes a number from 0 to 604800'],
    ['#sluice_start=', 'sluice_start takes a number from 0 to 604800'],
    ['#sluice_hold=1e9', 'sluice_hold takes a number from 0 to 604800'],
    ['#sluice_hold=1&sluice_hold=2', 'sluice_hold is given twice'],
  ])('refuses %s', (fragment, message) => {
    expect(() => splitPlayOptions(`http://a/b.mp4${fragment}`)).toThrow(`invalid ingress: url: ${message}`);
  });
});
