import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { IngressState_Status } from '@livekit/protocol';
import { IngressClient, IngressInput } from 'livekit-server-sdk';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { flashBeepInputs, passthroughH264 } from '../../fixtures/flash-beep.ts';
import { ffmpeg } from '../support/ffmpeg-encoder.ts';
import { until } from '../support/published-room.ts';
import { pushFile } from '../support/rtmp-push.ts';
import { API_KEY, API_SECRET, startSluiceProcess, type SluiceProcess } from '../support/sluice-process.ts';
import { selfSigned } from '../support/tls-front.ts';

const PUBLISHER = { roomName: 'studio', participantIdentity: 'obs', participantName: 'OBS' };

let folder: string;
let sluice: SluiceProcess | undefined;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'sluice-off-'));
});
afterEach(async () => {
  await sluice?.cleanUp();
  await rm(folder, { recursive: true, force: true });
});

async function start(ingress: object): Promise<{ client: IngressClient; ports: Record<string, number> }> {
  sluice = await startSluiceProcess({ config: { ingress } });
  const status = (await (await fetch(`${sluice.apiUrl}/status`)).json()) as { ports: Record<string, number> };
  return { client: new IngressClient(sluice.apiUrl, API_KEY, API_SECRET), ports: status.ports };
}

it('with LiveKit’s -1 for RTMP and WHIP, RTMPS alone takes encoders', async () => {
  const { cert, key } = selfSigned();
  const pem = { cert: path.join(folder, 'cert.pem'), key: path.join(folder, 'key.pem') };
  const film = path.join(folder, 'film.flv');
  await Promise.all([
    writeFile(pem.cert, cert),
    writeFile(pem.key, key),
    ffmpeg([
      ...flashBeepInputs({ width: 320, height: 180, framesPerSecond: 30, realTime: false }),
      ...['-t', '30', ...passthroughH264({ framesPerSecond: 30, bitrateKbps: 300 }), '-c:a', 'aac', film],
    ]),
  ]);
  const { client, ports } = await start({
    ...{ rtmp_port: -1, whip_port: -1 },
    ...{ rtmps_port: 0, rtmps_cert_file: pem.cert, rtmps_key_file: pem.key },
  });
  expect(ports).toMatchObject({ rtmp: 0, whip: 0 });
  const { ingressId, url, streamKey } = await client.createIngress(IngressInput.RTMP_INPUT, PUBLISHER);
  expect(url).toBe(`rtmps://localhost:${ports['rtmps'] ?? 0}/live`);
  await expect(client.createIngress(IngressInput.WHIP_INPUT, PUBLISHER)).rejects.toThrow(
    'WHIP is off on this server (ingress.whip_port is -1)',
  );
  const push = pushFile(film, `${url}/${streamKey}`);
  try {
    await until(30_000, 'PUBLISHING', async () => {
      const [info] = await client.listIngress({ ingressId });
      return IngressState_Status[info?.state?.status ?? -1] === 'ENDPOINT_PUBLISHING' ? info : undefined;
    });
  } finally {
    await push.stop();
  }
});

it('with all of them off, both kinds of endpoint are refused with the key to change', async () => {
  const { client, ports } = await start({ rtmp_port: -1, whip_port: -1 });
  expect(ports).toMatchObject({ rtmp: 0, rtmps: 0, srt: 0, whip: 0 });
  await expect(client.createIngress(IngressInput.RTMP_INPUT, PUBLISHER)).rejects.toThrow(
    'RTMP is off on this server (ingress.rtmp_port is -1)',
  );
});
