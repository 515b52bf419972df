import type { ServiceError } from '../../base/errors.ts';
import type { Logger } from '../../base/logger.ts';
import { GuardedProxy } from './guarded-proxy.ts';
import type { UrlPolicy, UrlTarget } from './url-policy.ts';

/** One way to read a target, with whatever stands guard over it. */
export type OpenInput = {
  /** Options of ffmpeg and ffprobe, ending with `-i` and the address. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** What the guard refused on the way: more telling than what the reader says of it. */
  readonly refusal: ServiceError | undefined;
  close(): Promise<void>;
};

/** Nothing but what the policy checked is opened on the way. */
export async function openInput(target: UrlTarget, policy: UrlPolicy, logger: Logger): Promise<OpenInput> {
  switch (target.kind) {
    case 'file':
      return {
        args: ['-protocol_whitelist', 'file,crypto,data', '-i', `file:${target.path}`],
        env: {},
        refusal: undefined,
        close: () => Promise.resolve(),
      };
    case 'http':
      return openHttp(target.url, policy, logger);
  }
}

async function openHttp(url: string, policy: UrlPolicy, logger: Logger): Promise<OpenInput> {
  const proxy = await GuardedProxy.start(policy, logger);
  return {
    args: [
      ...['-protocol_whitelist', 'http,https,tcp,tls,httpproxy,crypto,data'],
      ...['-rw_timeout', '15000000', '-i', url],
    ],
    // ffmpeg knows one variable for both schemes, and may leave nothing out.
    env: { http_proxy: proxy.url, no_proxy: '' },
    get refusal() {
      return proxy.refusal;
    },
    close: () => proxy.close(),
  };
}
