import { readdirSync, readFileSync } from 'node:fs';
import { IngressInfo, IngressInput, IngressVideoEncodingPreset } from '@livekit/protocol';
import { letHeapGrow } from '../../services/base/process/heap-growth.ts';
import { RoomInternal } from '../../services/bus/rpc-methods.ts';
import { LocalMedia } from '../../services/media/rtp/local-media.ts';
import { startIngressHarness, STREAM_KEY } from '../support/ingress-harness.ts';
import { API_KEY, API_SECRET, startSfuServer } from '../support/sfu-server.ts';

/**
 * The processes under test: SFU and ingress in this one, its ffmpeg children beside it. Arguments: number of streams, and
 * the name of the first one's video preset or nothing.
 */
export type NodeMessage = { type: 'start' } | { type: 'stop' } | { type: 'end' };
export type NodeReply =
  | { type: 'ready'; urls: string[] }
  | { type: 'started' }
  | { type: 'result'; cpuSeconds: number; treatments: string[] };

/** USER_HZ, fixed at 100 on Linux. */
const TICKS_PER_SECOND = 100;

// One process, as `npm start` runs it.
letHeapGrow();
const preset = (process.argv[3] ?? '') as keyof typeof IngressVideoEncodingPreset | '';
const localMedia = new LocalMedia();
const sfu = await startSfuServer({ sfu: { localMedia } });
const harness = await startIngressHarness({
  room: { wsUrl: sfu.wsUrl, apiKey: API_KEY, apiSecret: API_SECRET },
  localMedia,
  ...(preset === ''
    ? {}
    : {
        info: {
          video: { encodingOptions: { case: 'preset', value: IngressVideoEncodingPreset[preset] } },
        },
      }),
});
let before = 0;

process.on('message', (message: NodeMessage) => {
  void handle(message);
});
const rooms = ['studio'];
const urls = [harness.url];
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
  urls.push(harness.url.replace(STREAM_KEY, streamKey));
}
tell({ type: 'ready', urls });

async function handle(message: NodeMessage): Promise<void> {
  switch (message.type) {
    case 'start':
      before = cpuSeconds();
      tell({ type: 'started' });
      break;
    case 'stop':
      tell({
        type: 'result',
        cpuSeconds: cpuSeconds() - before,
        treatments: await Promise.all(rooms.map(treatment)),
      });
      break;
    case 'end':
      await harness.close();
      await sfu.close();
      process.disconnect();
  }
}

async function treatment(room: string): Promise<string> {
  const { participants } = await sfu.bus.request(RoomInternal.listParticipants, { room });
  const [ingress] = participants;
  return `${ingress?.attributes['sluice.ingress.video'] ?? 'no video'}, ${ingress?.tracks.length ?? 0} tracks`;
}

/** This process and all that descend from it. */
function cpuSeconds(): number {
  const parents = new Map<number, number>();
  const ticks = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    const fields = /^\d+$/.test(name) ? statFields(name) : undefined;
    if (fields !== undefined) {
      parents.set(Number(name), Number(fields[1]));
      ticks.set(Number(name), Number(fields[11]) + Number(fields[12]));
    }
  }
  let sum = 0;
  for (const pid of ticks.keys()) {
    let ancestor: number | undefined = pid;
    while (ancestor !== undefined && ancestor !== process.pid) {
      ancestor = parents.get(ancestor);
    }
    sum += ancestor === process.pid ? (ticks.get(pid) ?? 0) : 0;
  }
  return sum / TICKS_PER_SECOND;
}

/** Fields of /proc/PID/stat behind the command name; undefined when the process is gone. */
function statFields(pid: string): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

function tell(message: NodeReply): void {
  process.send?.(message);
}
