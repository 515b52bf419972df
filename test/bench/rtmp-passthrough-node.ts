import { IngressInfo, IngressInput, IngressVideoEncodingPreset } from '@livekit/protocol';
import { letHeapGrow } from '../../services/base/process/heap-growth.ts';
import { RoomInternal } from '../../services/bus/rpc-methods.ts';
import { LocalMedia } from '../../services/media/rtp/local-media.ts';
import { startIngressHarness, STREAM_KEY } from '../support/ingress-harness.ts';
import { API_KEY, API_SECRET, startSfuServer } from '../support/sfu-server.ts';

/**
 * The processes under test: SFU and ingress in this one, its ffmpeg children beside it. Arguments: number of streams, the
 * name of the first one's video preset or nothing, and what they are pushed by.
 */
export type NodeMessage = { type: 'report' } | { type: 'end' };
export type NodeReply =
  /** `viewer`: how to join the first room. */
  | { type: 'ready'; urls: string[]; viewer: { url: string; token: string } }
  | { type: 'result'; treatments: string[] };

// One process, as `npm start` runs it.
letHeapGrow();
const preset = (process.argv[3] ?? '') as keyof typeof IngressVideoEncodingPreset | '';
const isSrt = process.argv[4] === 'srt';
const localMedia = new LocalMedia();
const sfu = await startSfuServer({ sfu: { localMedia } });
const harness = await startIngressHarness({
  room: { wsUrl: sfu.wsUrl, apiKey: API_KEY, apiSecret: API_SECRET },
  localMedia,
  ...(isSrt ? { srt: {} } : {}),
  ...(preset === ''
    ? {}
    : {
        info: {
          video: { encodingOptions: { case: 'preset', value: IngressVideoEncodingPreset[preset] } },
        },
      }),
});

process.on('message', (message: NodeMessage) => {
  void handle(message);
});
const rooms = ['studio'];
const url = isSrt ? harness.srtUrl : harness.url;
const urls = [url];
for (let number = 1; number < Number(process.argv[2] ?? 1); number++) {
  const roomName = `studio-${number}`;
  const streamKey = `${STREAM_KEY}${number}`;
  await harness.store.put(
    new IngressInfo({
      ...{ ingressId: `IN_${number}`, streamKey, roomName, enabled: true, reusable: true },
      inputType: IngressInput.RTMP_INPUT,
      participantIdentity: 'obs',
    }),
  );
  rooms.push(roomName);
  urls.push(url.replace(STREAM_KEY, streamKey));
}
const viewer = { url: sfu.wsUrl, token: await sfu.joinToken('viewer', 'studio') };
tell({ type: 'ready', urls, viewer });

async function handle(message: NodeMessage): Promise<void> {
  switch (message.type) {
    case 'report':
      tell({ type: 'result', treatments: await Promise.all(rooms.map(treatment)) });
      break;
    case 'end':
      await harness.close();
      await sfu.close();
      process.disconnect();
  }
}

async function treatment(room: string): Promise<string> {
  const { participants } = await sfu.bus.request(RoomInternal.listParticipants, { room });
  const ingress = participants.find(({ identity }) => identity === 'obs');
  return `${ingress?.attributes['sluice.ingress.video'] ?? 'no video'}, ${ingress?.tracks.length ?? 0} tracks`;
}

function tell(message: NodeReply): void {
  process.send?.(message);
}
