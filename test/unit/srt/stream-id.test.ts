import { describe, expect, it } from 'vitest';
import { streamKeyOf } from '../../../services/ingress/srt/stream-id.ts';

describe('the stream id of a publisher', () => {
  it.each([
    'k3y',
    'publish:k3y',
    '#!::r=k3y,m=publish',
    '#!::m=publish,r=k3y,t=stream',
    '#!::h=ingest.example.com,r=k3y,m=publish,s=8',
  ])('%s is the key', (streamId) => {
    expect(streamKeyOf(streamId)).toBe('k3y');
  });

  it.each([
    ['', 'invalid_argument'],
    ['publish:', 'invalid_argument'],
    ['k3y with blanks', 'invalid_argument'],
    ['#!::m=publish', 'invalid_argument'],
    ['#!::r=a,r=b,m=publish', 'invalid_argument'],
    ['#!::r=k3y,m=publish,t=file', 'invalid_argument'],
    ['#!::r=k3y,m=publish,u=somebody', 'invalid_argument'],
    ['#!::r=k3y,m=publish,__proto__=x', 'invalid_argument'],
    ['#!{r: k3y}', 'invalid_argument'],
    ['x'.repeat(513), 'invalid_argument'],
    ['read:k3y', 'unimplemented'],
    ['#!::r=k3y', 'unimplemented'],
    ['#!::r=k3y,m=request', 'unimplemented'],
    ['#!::r=k3y,m=bidirectional', 'unimplemented'],
  ])('%s is refused', (streamId, code) => {
    expect(() => streamKeyOf(streamId)).toThrow(expect.objectContaining({ code }) as Error);
    expect(() => streamKeyOf(streamId)).not.toThrow(/k3y/);
  });
});
