import ffmpegInstaller from '@ffmpeg-installer/ffmpeg';
import { describe, expect, it } from 'vitest';
import {
  parseListing,
  parseOutputProtocols,
  probeFfmpeg,
} from '../../../services/media/ffmpeg/capabilities.ts';
import { locateFfmpeg } from '../../../services/media/ffmpeg/locate.ts';

describe('ffmpeg capabilities', () => {
  it('reads names behind the flag columns and skips the legend', () => {
    const encoders =
      'Encoders:\n V..... = Video\n ------\n V....D libx264              x\n A....D aac                  y\n';
    expect([...parseListing(encoders)]).toEqual(['libx264', 'aac']);
    const muxers =
      'File formats:\n D. = Demuxing supported\n --\n  E adts            a\n DE flv             b\n  E mov,mp4         c\n';
    expect([...parseListing(muxers)]).toEqual(['adts', 'flv', 'mov', 'mp4']);
    expect([...parseOutputProtocols('Supported\nInput:\n  http\nOutput:\n  file\n  srt\n')]).toEqual([
      'file',
      'srt',
    ]);
  });

  it('measures the system build as complete and names the limits of the build from npm', async () => {
    const system = await probeFfmpeg((await locateFfmpeg()).path);
    expect(system.limits).toEqual([]);
    expect(system.encoders.has('libopus') && system.muxers.has('adts')).toBe(true);
    const npm = await probeFfmpeg(ffmpegInstaller.path);
    expect(npm.resolvesHostNames).toBe(false);
    expect(npm.limits).toEqual(
      expect.arrayContaining([expect.stringMatching(/^no srt/), expect.stringMatching(/host names/)]),
    );
  });

  it('falls back to npm without a PATH, and never ignores a configured path that is wrong', async () => {
    expect((await locateFfmpeg({ searchPath: '' })).origin).toBe('npm');
    await expect(locateFfmpeg({ configuredPath: '/nowhere/ffmpeg' })).rejects.toThrow(/"\/nowhere\/ffmpeg"/);
    await expect(probeFfmpeg('/bin/false')).rejects.toMatchObject({ code: 'failed_precondition' });
  });
});
