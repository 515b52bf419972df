import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import type { Page } from 'puppeteer';
import type { TestBrowser } from './chromium.ts';
import type { SfuServer } from './sfu-server.ts';

const clientBundle = readFileSync(createRequire(import.meta.url).resolve('livekit-client'), 'utf8');

const PAGE = `<!doctype html><meta charset="utf-8"><title>room</title><body><script src="/livekit-client.js"></script>
<script>
const L = LivekitClient;
const app = window.app = { events: [], data: [], room: undefined };
const describe = (x) => x?.trackSid ?? x?.sid ?? x?.identity ?? x?.kind ?? (typeof x === 'object' ? '' : x);
app.connect = async (url, token, roomOptions = {}, connectOptions = {}) => {
  const room = app.room = new L.Room(roomOptions);
  for (const [name, event] of Object.entries(L.RoomEvent)) {
    room.on(event, (...args) => app.events.push([name, ...args.map(describe)].join(' ')));
  }
  room.on('trackSubscribed', (track) => {
    const element = track.attach();
    element.id = 'el-' + track.sid;
    if (track.kind === 'video') element.style.width = '640px';
    document.body.append(element);
  });
  room.on('trackUnsubscribed', (track) => track.detach().forEach((element) => element.remove()));
  room.on('dataReceived', (payload, participant, kind, topic) => {
    app.data.push({ text: new TextDecoder().decode(payload), from: participant?.identity, kind, topic });
  });
  await room.connect(url, token, connectOptions);
  return room.localParticipant.sid;
};
app.publish = async (videoOptions, resolution) => {
  const me = app.room.localParticipant;
  await me.setCameraEnabled(true, { resolution }, videoOptions);
  await me.setMicrophoneEnabled(true);
  return [...me.trackPublications.values()].map((publication) => publication.trackSid);
};
app.remoteVideos = () => [...app.room.remoteParticipants.values()].flatMap((p) => [...p.videoTrackPublications.values()]);
app.inbound = async (kind) => {
  const report = await app.room.engine.pcManager.publisher.getStats();
  const found = [];
  report.forEach((s) => {
    if (s.type === 'inbound-rtp' && s.kind === kind) {
      const codec = report.get(s.codecId);
      found.push({ framesDecoded: s.framesDecoded ?? 0, width: s.frameWidth ?? 0, height: s.frameHeight ?? 0,
        keyFramesDecoded: s.keyFramesDecoded ?? 0, packetsReceived: s.packetsReceived, packetsLost: s.packetsLost,
        totalAudioEnergy: s.totalAudioEnergy ?? 0, totalSamplesReceived: s.totalSamplesReceived ?? 0,
        freezeCount: s.freezeCount ?? 0, codec: codec?.mimeType ?? '' });
    }
  });
  return found;
};
app.outbound = async () => {
  const report = await app.room.engine.pcManager.publisher.getStats();
  const found = [];
  report.forEach((s) => {
    if (s.type === 'outbound-rtp' && s.kind === 'video') {
      found.push({ rid: s.rid ?? '', active: s.active ?? true, framesEncoded: s.framesEncoded ?? 0, width: s.frameWidth ?? 0 });
    }
  });
  return found;
};
/** Downscaled RGBA of the shown picture, for comparing what really arrived on screen. */
app.picture = () => {
  const video = document.querySelector('video');
  if (!video || video.videoWidth === 0) return null;
  const canvas = document.createElement('canvas');
  canvas.width = 64; canvas.height = 36;
  const context = canvas.getContext('2d');
  context.drawImage(video, 0, 0, 64, 36);
  return { width: video.videoWidth, height: video.videoHeight, rgba: [...context.getImageData(0, 0, 64, 36).data] };
};
</script>`;

/** Serves the page and the unmodified npm livekit-client; pass as `onRequest` to startSfuServer. */
export function serveLivekitPage(req: IncomingMessage, res: ServerResponse): void {
  if (req.url === '/room.html') {
    res.writeHead(200, { 'content-type': 'text/html' }).end(PAGE);
  } else if (req.url === '/livekit-client.js') {
    res.writeHead(200, { 'content-type': 'text/javascript' }).end(clientBundle);
  } else {
    res.writeHead(404).end();
  }
}

export type InboundStats = {
  framesDecoded: number;
  keyFramesDecoded: number;
  width: number;
  height: number;
  packetsReceived: number;
  packetsLost: number;
  totalAudioEnergy: number;
  totalSamplesReceived: number;
  freezeCount: number;
  codec: string;
};
export type OutboundLayer = { rid: string; active: boolean; framesEncoded: number; width: number };
export type Picture = { width: number; height: number; rgba: number[] };
export type ReceivedData = { text: string; from?: string; kind: number; topic?: string };

/** A tab that runs livekit-client. */
export class LivekitPage {
  readonly page: Page;

  private constructor(page: Page) {
    this.page = page;
  }

  static async open(browser: TestBrowser, server: Pick<SfuServer, 'httpUrl'>): Promise<LivekitPage> {
    const page = await browser.newPage();
    if (process.env['TEST_CONSOLE'] !== undefined) {
      page.on('console', (message) => {
        console.log(`[page] ${message.text().slice(0, 600)}`);
      });
    }
    await page.goto(`${server.httpUrl}/room.html`);
    return new LivekitPage(page);
  }

  /** Evaluates an expression in the page, where `app` is the page's harness. */
  run<T>(expression: string): Promise<T> {
    return this.page.evaluate(expression) as Promise<T>;
  }

  connect(
    url: string,
    token: string,
    roomOptions: object = {},
    connectOptions: object = {},
  ): Promise<string> {
    const args = [url, token, roomOptions, connectOptions].map((arg) => JSON.stringify(arg)).join(', ');
    return this.run(`app.connect(${args})`);
  }

  /** Camera and microphone on; the default picture is 1280 × 720. */
  publish(
    videoOptions: object = {},
    resolution = { width: 1280, height: 720, frameRate: 30 },
  ): Promise<string[]> {
    return this.run(`app.publish(${JSON.stringify(videoOptions)}, ${JSON.stringify(resolution)})`);
  }

  inbound(kind: 'video' | 'audio'): Promise<InboundStats[]> {
    return this.run(`app.inbound('${kind}')`);
  }

  outbound(): Promise<OutboundLayer[]> {
    return this.run('app.outbound()');
  }

  picture(): Promise<Picture | null> {
    return this.run('app.picture()');
  }

  events(): Promise<string[]> {
    return this.run('app.events');
  }

  data(): Promise<ReceivedData[]> {
    return this.run('app.data');
  }
}

/** Polls until `read` yields something `accept` takes; the error shows what it yielded last. */
export async function eventually<T>(
  what: string,
  read: () => Promise<T> | T,
  accept: (value: T) => boolean,
  timeoutMs = 25_000,
): Promise<T> {
  const deadlineMs = Date.now() + timeoutMs;
  for (;;) {
    const value = await read();
    if (accept(value)) {
      return value;
    }
    if (Date.now() > deadlineMs) {
      throw new Error(
        `${what}: not within ${timeoutMs} ms; last seen ${JSON.stringify(value).slice(0, 800)}`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
