import * as livekit from '@livekit/protocol';
import { messageOf, ServiceError } from '../base/errors.ts';
import type { Logger } from '../base/logger.ts';
import { say } from './console.ts';
import type { DemoRow } from './demo-report.ts';
import { DEMO_PICTURE, pushDemoStream } from './demo-source.ts';
import { poll } from './demo-wait.ts';
import { openWhipPage, WHIP_PICTURE } from './demo-whip.ts';
import type { LiveKitApi } from './livekit-api.ts';
import { startRtmpPlatform } from './rtmp-platform.ts';
import type { Tools } from './tools.ts';

export type PublisherOptions = {
  api: LiveKitApi;
  room: string;
  tools: Tools;
  /** Ends everything by then. */
  maxSeconds: number;
  signal: AbortSignal;
};

/** Somebody who streams into the room, until `end`. */
export type Publisher = {
  identity: string;
  video: livekit.TrackInfo;
  audio: livekit.TrackInfo;
  /** Aborted with the reason when the stream ends early. */
  lost: AbortSignal;
  /** Ends in order and looks whether the room has noticed. @returns its line in the table. */
  end(): Promise<DemoRow>;
  /** Idempotent. */
  close(): Promise<void>;
};

const PUBLISH_TIMEOUT_MS = 30_000;
const LEAVE_TIMEOUT_MS = 15_000;

/** An encoder like OBS; with `viaPlatform` its stream takes a detour through node-media-server. */
export async function publishByRtmp(
  options: PublisherOptions & { viaPlatform: boolean },
): Promise<Publisher> {
  const endpoint = await createEndpoint(options, livekit.IngressInput.RTMP_INPUT, 'camera');
  // 127.0.0.1 instead of the name: the fallback ffmpeg from npm crashes on host names.
  const target = `${endpoint.info.url.replace('//localhost', '//127.0.0.1')}/${endpoint.info.streamKey}`;
  const platform = options.viaPlatform
    ? await startRtmpPlatform({ program: process.argv[1] ?? '', pushUrl: target })
    : undefined;
  const push = pushDemoStream({
    ffmpegPath: options.tools.ffmpegPath,
    url: platform?.publishUrl ?? target,
    maxSeconds: options.maxSeconds,
  });
  const from = platform === undefined ? 'ffmpeg' : 'ffmpeg, node-media-server';
  const lost = new AbortController();
  void push.ended.then(({ lastWords }) => {
    const reason = lastWords.trim() || 'no reason given';
    lost.abort(new ServiceError('unavailable', `the RTMP stream ended early: ${reason}`));
  });
  return endpoint.published({
    what: 'RTMP in',
    from,
    size: DEMO_PICTURE,
    lost: lost.signal,
    end: async () => {
      await push.stop();
      // It would wait for its encoder to come back.
      await platform?.close();
      return 'ended';
    },
    close: async () => {
      await push.stop();
      await platform?.close();
    },
  });
}

/** A browser with nothing but RTCPeerConnection and fetch. */
export async function publishByWhip(
  options: PublisherOptions & { browserPath: string; pageUrl: string; logger: Logger },
): Promise<Publisher> {
  const endpoint = await createEndpoint(options, livekit.IngressInput.WHIP_INPUT, 'browser');
  const { url: whipUrl, streamKey } = endpoint.info;
  const page = await openWhipPage({ ...options, whipUrl, streamKey }).catch(async (error: unknown) => {
    await endpoint.remove();
    throw error;
  });
  return endpoint.published({
    what: 'WHIP in',
    from: 'Chromium',
    size: WHIP_PICTURE,
    lost: new AbortController().signal,
    end: async () => {
      await page.stop();
      return 'ended by DELETE';
    },
    close: () => page.close(),
  });
}

type Stream = {
  what: string;
  from: string;
  size: { width: number; height: number };
  lost: AbortSignal;
  /** @returns how it ended. */
  end: () => Promise<string>;
  close: () => Promise<void>;
};

type Endpoint = {
  info: livekit.IngressInfo;
  remove: () => Promise<void>;
  /** Waits for the tracks of a running stream; closes it when they do not come. */
  published: (stream: Stream) => Promise<Publisher>;
};

async function createEndpoint(
  { api, room, signal }: PublisherOptions,
  inputType: livekit.IngressInput,
  name: string,
): Promise<Endpoint> {
  const identity = `demo-${name}`;
  const info = await api.createIngress({
    ...{ inputType, name: `demo ${name}`, roomName: room },
    ...{ participantIdentity: identity, participantName: `Demo ${name}` },
  });
  const remove = async (): Promise<void> => {
    await api.deleteIngress(info.ingressId).catch(() => undefined);
  };
  const find = async (): Promise<livekit.ParticipantInfo | undefined> =>
    (await api.listParticipants(room).catch(() => [])).find(
      (participant) => participant.identity === identity,
    );
  const hasLeft = (): Promise<true> =>
    poll(LEAVE_TIMEOUT_MS, `${identity} is still in the room`, signal, async () =>
      (await find()) === undefined ? true : undefined,
    );
  const published = async (stream: Stream): Promise<Publisher> => {
    const close = async (): Promise<void> => {
      await stream.close();
      await remove();
    };
    try {
      const untilLost = AbortSignal.any([signal, stream.lost]);
      const { video, audio } = await poll(
        PUBLISH_TIMEOUT_MS,
        `no tracks of ${identity} in the room`,
        untilLost,
        async () => pictureAndSound(await find()),
      );
      const tracks = [video, audio].map(describeTrack);
      say(`${stream.what}: ${stream.from} publishes ${tracks.join(' and ')} as "${identity}"`);
      const row = { what: stream.what, route: `${stream.from} → room`, files: [] };
      const { width, height } = stream.size;
      const end = async (): Promise<DemoRow> => {
        const facts: string[] = [];
        try {
          // Once more: the size of a stream may be known only after its first picture.
          const last = pictureAndSound(await find()) ?? { video, audio };
          facts.push(describeTrack(last.video), describeTrack(last.audio), await stream.end());
          await hasLeft();
          const isAsSent = last.video.width === width && last.video.height === height;
          return { ...row, facts, problems: isAsSent ? [] : [`expected ${width}x${height}`] };
        } catch (error) {
          return { ...row, facts, problems: [messageOf(error)] };
        }
      };
      return { identity, video, audio, lost: stream.lost, end, close };
    } catch (error) {
      await close();
      throw stream.lost.aborted ? stream.lost.reason : error;
    }
  };
  return { info, remove, published };
}

function pictureAndSound(
  participant: livekit.ParticipantInfo | undefined,
): { video: livekit.TrackInfo; audio: livekit.TrackInfo } | undefined {
  const video = participant?.tracks.find((track) => track.type === livekit.TrackType.VIDEO);
  const audio = participant?.tracks.find((track) => track.type === livekit.TrackType.AUDIO);
  return video === undefined || audio === undefined ? undefined : { video, audio };
}

function describeTrack(track: livekit.TrackInfo): string {
  const codec = track.mimeType.split('/')[1]?.toLowerCase() ?? track.mimeType;
  return track.width > 0 ? `${codec} ${track.width}x${track.height}` : codec;
}
