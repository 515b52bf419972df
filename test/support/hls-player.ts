import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import type { Page } from 'puppeteer';

const HLS_JS = path.resolve('node_modules/hls.js/dist/hls.min.js');
const TYPES: Readonly<Record<string, string>> = {
  '.m3u8': 'application/x-mpegurl',
  '.ts': 'video/mp2t',
  '.js': 'text/javascript',
};
const PAGE = `<!doctype html><video id="v" muted playsinline></video><script src="/hls.js"></script><script>
  const video = document.getElementById('v');
  window.seen = { errors: [], levels: 0 };
  window.play = (url) => {
    const hls = new Hls({ enableWorker: false });
    hls.on(Hls.Events.ERROR, (_event, data) => {
      if (data.fatal || data.details.includes('append') || data.details.includes('fragParsing')) {
        window.seen.errors.push(data.details + ': ' + (data.error ? data.error.message : ''));
      }
    });
    hls.on(Hls.Events.LEVEL_LOADED, (_event, data) => { window.seen.isLive = data.details.live; });
    hls.loadSource(url);
    hls.attachMedia(video);
    video.play().catch((error) => window.seen.errors.push('play: ' + error.message));
  };
  window.report = () => ({
    ...window.seen,
    currentTime: video.currentTime,
    duration: Number.isFinite(video.duration) ? video.duration : -1,
    width: video.videoWidth,
    frames: video.getVideoPlaybackQuality().totalVideoFrames,
    hasEnded: video.ended,
    paused: video.paused,
    readyState: video.readyState,
    visibility: document.visibilityState,
    buffered: Array.from({ length: video.buffered.length }, (_, i) => [video.buffered.start(i), video.buffered.end(i)]),
  });
  window.jump = (toS) => { video.currentTime = toS; };
</script>`;

export type PlayerReport = {
  errors: string[];
  isLive?: boolean;
  currentTime: number;
  duration: number;
  width: number;
  frames: number;
  hasEnded: boolean;
  /** Why nothing moves, when nothing moves. */
  paused: boolean;
  readyState: number;
  visibility: string;
  buffered: [startS: number, endS: number][];
};

export type HlsSite = { url: string; close(): Promise<void> };

/** A folder as a web site, with a page that plays HLS by hls.js. */
export async function serveHls(folder: string): Promise<HlsSite> {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://x');
    if (pathname === '/') {
      response.setHeader('content-type', 'text/html').end(PAGE);
      return;
    }
    const file = pathname === '/hls.js' ? HLS_JS : path.join(folder, decodeURIComponent(pathname));
    stat(file).then(
      () => {
        response.setHeader('content-type', TYPES[path.extname(file)] ?? 'application/octet-stream');
        response.setHeader('cache-control', 'no-store');
        createReadStream(file).pipe(response);
      },
      () => response.writeHead(404).end(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Opens the site's page and plays one of its playlists. */
export async function playHls(page: Page, site: HlsSite, playlist: string): Promise<void> {
  await page.goto(site.url);
  await page.evaluate(`window.play(${JSON.stringify(`/${playlist}`)})`);
}

export async function playerReport(page: Page): Promise<PlayerReport> {
  return (await page.evaluate('window.report()')) as PlayerReport;
}
