import { IngressInfo, IngressInput, IngressState_Status, type IngressState } from '@livekit/protocol';
import { IngressInternal } from '../../services/bus/rpc-methods.ts';
import {
  ENDPOINT_ERROR,
  startIngressHarness,
  type IngressHarness,
  type IngressHarnessOptions,
} from './ingress-harness.ts';

const { ENDPOINT_COMPLETE } = IngressState_Status;

export type Played = {
  harness: IngressHarness;
  end: IngressState;
  /** The last state that tells of the input. */
  last: IngressState;
};

/** A node that plays URLs into a room that keeps everything. */
export function startUrlHarness(options: Omit<IngressHarnessOptions, 'info'> = {}): Promise<IngressHarness> {
  return startIngressHarness({
    ...options,
    info: { ingressId: 'IN_url', streamKey: '', inputType: IngressInput.URL_INPUT, reusable: false },
  });
}

/** @throws ServiceError what CreateIngress would answer. */
export async function startUrl(harness: IngressHarness, url: string): Promise<IngressInfo> {
  const info = (await harness.store.get('IN_url')) ?? new IngressInfo();
  info.url = url;
  return harness.bus.request(IngressInternal.startIngress, { info });
}

export function endOf(harness: IngressHarness): Promise<IngressState> {
  return harness.stateThat(({ status }) => status === ENDPOINT_COMPLETE || status === ENDPOINT_ERROR);
}

/** Plays a URL up to its end. */
export async function playToEnd(
  url: string,
  options: Omit<IngressHarnessOptions, 'info'> = {},
): Promise<Played> {
  const harness = await startUrlHarness(options);
  try {
    await startUrl(harness, url);
    const end = await endOf(harness);
    const last = harness.states.findLast(({ video, audio }) => (video ?? audio) !== undefined) ?? end;
    return { harness, end, last };
  } finally {
    await harness.close();
  }
}
