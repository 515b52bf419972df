import type { IngressInfo } from '@livekit/protocol';
import { ServiceError } from '../../base/errors.ts';
import type { Unregister } from '../../bus/bus.ts';
import { IngressInternal } from '../../bus/rpc-methods.ts';
import type { ConnectRoom } from '../../rtc-client/room-client-types.ts';
import type { IngressOptions } from '../ingress-service.ts';
import { IngressSession } from '../ingress-session.ts';
import { ingressSettings } from '../ingress-settings.ts';
import type { SessionRegistry } from '../session-registry.ts';
import { splitPlayOptions, type PlayOptions } from './url-options.ts';
import { UrlPolicy, type UrlTarget } from './url-policy.ts';
import { UrlReader } from './url-reader.ts';

/** Plays the URLs the API hands out, each once. Resolves to the function that takes no more of them. */
export async function serveUrlIngress(
  options: IngressOptions,
  sessions: SessionRegistry,
  connectRoom: ConnectRoom,
): Promise<Unregister> {
  const { bus, ffprobePath } = options;
  const policy = new UrlPolicy(options.url);
  return bus.serve(
    IngressInternal.startIngress,
    async ({ info }) => {
      if (info === undefined || info.url === '') {
        throw new ServiceError('invalid_argument', 'invalid ingress: no source URL');
      }
      if (ffprobePath === undefined) {
        throw new ServiceError(
          'unavailable',
          'URL inputs need ffprobe: apt-get install ffmpeg, or set FFPROBE_PATH',
          {
            scope: 'node',
            retryable: false,
          },
        );
      }
      // Before a participant appears: what can be told from the address alone is told to the caller.
      const { url, options: play } = splitPlayOptions(info.url);
      const target = await policy.target(url);
      const session = await sessions.run(info, 'UR_', () =>
        startSession({ options, info, connectRoom, policy, target, play, ffprobePath }),
      );
      const started = info.clone();
      started.state = session.state;
      return started;
    },
    { affinity: () => (sessions.isClosed ? -1 : 1) },
  );
}

async function startSession(start: {
  options: IngressOptions;
  info: IngressInfo;
  connectRoom: ConnectRoom;
  policy: UrlPolicy;
  target: UrlTarget;
  play: PlayOptions;
  ffprobePath: string;
}): Promise<IngressSession> {
  const { options, info, connectRoom, policy, target, play, ffprobePath } = start;
  const { bus, logger, room, ffmpegPath } = options;
  const encoder = {
    drop: (): void => {
      void reader.close();
    },
  };
  const session = new IngressSession({
    ...{ bus, logger, room, ffmpegPath, connectRoom, info, encoder },
    kind: 'url',
  });
  const reader = new UrlReader({
    ...{ target, play, policy, ffmpegPath, ffprobePath },
    settings: ingressSettings(info),
    sink: session,
    logger: logger.child({ ingressId: info.ingressId }),
  });
  await session.start();
  reader.start();
  return session;
}
