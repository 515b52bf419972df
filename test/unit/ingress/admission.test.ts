import { afterEach, expect, test } from 'vitest';
import { DEFAULT_INGRESS_CPU_COST, IngressAdmission } from '../../../services/ingress/admission.ts';
import { startIngressHarness, STREAM_KEY, type IngressHarness } from '../../support/ingress-harness.ts';
import { RtmpClient } from '../../support/rtmp-client.ts';
import { IngressInfo, IngressInput } from '@livekit/protocol';

let harness: IngressHarness | undefined;
const clients: RtmpClient[] = [];

afterEach(async () => {
  clients.splice(0).forEach((client) => {
    client.close();
  });
  await harness?.close();
  harness = undefined;
});

function admission(cores: number): IngressAdmission {
  return new IngressAdmission({ cores, cost: DEFAULT_INGRESS_CPU_COST, maxCpuUtilization: 0.9 });
}

test('sessions are taken while their costs fit, and whoever leaves makes room', () => {
  const node = admission(1);
  for (let index = 0; index < 22; index += 1) {
    node.reserve(`IN_${index}`, 'rtmp');
  }
  expect(node.fits('rtmp')).toBe(false);
  expect(() => node.reserve('IN_next', 'rtmp')).toThrow(
    'not enough CPU on this node: the stream needs 0.04 cores, 0.88 of 0.90 are taken by 22 others',
  );
  node.release('IN_0');
  expect(() => node.reserve('IN_next', 'rtmp')).not.toThrow();
});

test('an idle node takes anything; a stream that turns out to be transcoded leaves less for others', () => {
  const node = admission(0.1);
  node.reserve('IN_large', 'whip');
  expect(node.fits('rtmp')).toBe(false);
  const other = admission(1);
  other.reserve('IN_one', 'rtmp');
  other.change('IN_one', 'rtmpTranscoding');
  other.change('IN_gone', 'rtmpTranscoding');
  expect(other.work()).toEqual(['rtmpTranscoding']);
  expect(other.fits('rtmp')).toBe(true);
  expect(other.fits('rtmpTranscoding')).toBe(false);
});

test('an encoder for which a node has no CPU is told so; the running one goes on; both attempts are counted', async () => {
  const results: string[] = [];
  harness = await startIngressHarness({
    limits: { refusalDelayMs: 0 },
    cores: 0.01,
    onPublishResult: (type, status) => results.push(`${type} ${status}`),
  });
  const { ingress, store } = harness;
  await store.put(
    new IngressInfo({
      ...{ ingressId: 'IN_second', streamKey: 'second', inputType: IngressInput.RTMP_INPUT },
      ...{ roomName: 'studio', participantIdentity: 'second', enabled: true, reusable: true },
    }),
  );
  expect(ingress.isAvailable()).toBe(true);
  for (const key of [STREAM_KEY, 'second', 'nobody']) {
    const client = new RtmpClient(ingress.rtmpPort).publish(key);
    clients.push(client);
    await client.status();
  }
  expect(clients[0]?.statuses()[0]).toMatchObject({ code: 'NetStream.Publish.Start' });
  expect(clients[1]?.statuses()[0]?.description).toContain('not enough CPU on this node');
  expect(ingress.isAvailable()).toBe(false);
  expect(ingress.work()).toEqual(['rtmp']);
  expect(ingress.activeIngressIds()).toEqual(['IN_test']);
  expect(results).toEqual(['rtmp success', 'rtmp 4xx', 'rtmp 4xx']);
});
