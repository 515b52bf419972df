import type { IngressInfo } from '@livekit/protocol';
import { ServiceError } from '../../base/errors.ts';
import type { Unregister } from '../../bus/bus.ts';
import { IngressInternal } from '../../bus/rpc-methods.ts';
import type { ConnectRoom } from '../../rtc-client/room-client-types.ts';
import type { IngressAdmission } from '../admission.ts';
import type { IngressOptions } from '../ingress-service.ts';
import { IngressSession } from '../ingress-session.ts';
import { ingressSettings } from '../ingress-settings.ts';
import { latencyOf } from '../packet-latency.ts';
import { RTMP_SESSION_POLICY } from '../rtmp-session-policy.ts';
import type { SessionRegistry } from '../session-registry.ts';
import { splitPlayOptions, type PlayOptions } from './url-options.ts';
import { isLive, UrlPolicy, type UrlTarget } from './url-policy.ts';
import { UrlReader } from './url-reader.ts';

/** An input that sends nothing for so long has failed. */
const STALL_MS = 20_000;

type UrlIngressOptions = IngressOptions & { admission: IngressAdmission };

/** Plays the URLs the API hands out, each once. Resolves to the function that takes no more of them. */
export async function serveUrlIngress(
  options: UrlIngressOptions,
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
      checkOptions(target, play);
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
  options: UrlIngressOptions;
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
    isLive: isLive(target),
    ...latencyOf(options),
    onTranscoding: () => options.admission.change(info.ingressId, 'urlTranscoding'),
    policy: { ...RTMP_SESSION_POLICY, ...options.rtmp.policy },
  });
  const reader = new UrlReader({
    ...{ target, play, policy, ffmpegPath, ffprobePath },
    settings: ingressSettings(info),
    sink: session,
    stallMs: options.url.stallMs ?? STALL_MS,
    logger: logger.child({ ingressId: info.ingressId }),
  });
  await session.start();
  reader.start();
  return session;
}

/** @throws ServiceError invalid_argument naming what a live input cannot do. */
function checkOptions(target: UrlTarget, { plays, startS, holdS }: PlayOptions): void {
  const option =
    plays > 1 ? 'sluice_loop' : startS > 0 ? 'sluice_start' : holdS > 0 ? 'sluice_hold' : undefined;
  if (option !== undefined && isLive(target)) {
    throw new ServiceError(
      'invalid_argument',
      `invalid ingress: url: ${option} is for recordings, not for ${target.kind}`,
    );
  }
}
