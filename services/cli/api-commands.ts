import type { Message } from '@bufbuild/protobuf';
import * as livekit from '@livekit/protocol';
import { redactEgress } from '../protocol/redact-egress.ts';
import { parseFlags, UsageError, type CliCommand } from './command.ts';
import { loadFromFlags } from './config-flags.ts';
import { LiveKitApi } from './livekit-api.ts';

/** Noun and verb, like LiveKit's own CLI; they work against any LiveKit-compatible server. */
const COMMON_FLAGS = {
  url: { type: 'string' },
  config: { type: 'string' },
  json: { type: 'boolean' },
} as const;
const COMMON_USAGE = '[--url http://localhost:7880] [--config FILE] [--json]';

type CommonFlags = { url?: string | undefined; config?: string | undefined; json?: boolean | undefined };

async function apiFor(flags: CommonFlags): Promise<LiveKitApi> {
  const { config } = await loadFromFlags({ config: flags.config });
  const [pair] = Object.entries(config.keys);
  if (pair === undefined) {
    throw new UsageError('no API key is configured');
  }
  const url = flags.url ?? process.env['LIVEKIT_URL'] ?? `http://127.0.0.1:${config.port}`;
  return new LiveKitApi({ url, apiKey: pair[0], apiSecret: pair[1] });
}

function print<T extends Message<T>>(flags: CommonFlags, items: T[], row: (item: T) => string[]): 0 {
  if (flags.json === true) {
    const json = items.map((item) => item.toJson({ emitDefaultValues: true, useProtoFieldName: true }));
    process.stdout.write(`${JSON.stringify(json, null, 2)}\n`);
    return 0;
  }
  const rows = items.map(row);
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((cells) => cells[column]?.length ?? 0)),
  );
  for (const cells of rows) {
    process.stdout.write(
      `${cells
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd()}\n`,
    );
  }
  return 0;
}

const egressRow = (info: livekit.EgressInfo): string[] => [
  info.egressId,
  livekit.EgressStatus[info.status],
  info.roomName,
  info.error || info.fileResults.map((file) => file.location).join(' '),
];
const ingressRow = (info: livekit.IngressInfo): string[] => [
  info.ingressId,
  livekit.IngressState_Status[info.state?.status ?? livekit.IngressState_Status.ENDPOINT_INACTIVE],
  info.roomName,
  info.url,
  info.streamKey,
];

const roomList: CliCommand = {
  name: 'room list',
  summary: 'rooms that are open',
  usage: `room list ${COMMON_USAGE}`,
  async run(args) {
    const flags = parseFlags(args, COMMON_FLAGS);
    const api = await apiFor(flags);
    const rooms = await api.listRooms();
    return print(flags, rooms, (room) => [room.sid, room.name, `${room.numParticipants} participants`]);
  },
};

const egressList: CliCommand = {
  name: 'egress list',
  summary: 'recordings, running and ended',
  usage: `egress list [--room NAME] ${COMMON_USAGE}`,
  async run(args) {
    const flags = parseFlags(args, { ...COMMON_FLAGS, room: { type: 'string' } });
    const api = await apiFor(flags);
    const items = await api.listEgress(flags.room === undefined ? {} : { roomName: flags.room });
    return print(flags, items, egressRow);
  },
};

const egressStop: CliCommand = {
  name: 'egress stop',
  summary: 'end a recording and keep it',
  usage: `egress stop --id EG_… ${COMMON_USAGE}`,
  async run(args) {
    const flags = parseFlags(args, { ...COMMON_FLAGS, id: { type: 'string' } });
    if (flags.id === undefined) {
      throw new UsageError('--id is needed');
    }
    const api = await apiFor(flags);
    const info = await api.stopEgress(flags.id);
    return print(flags, [redactEgress(info)], egressRow);
  },
};

const ingressList: CliCommand = {
  name: 'ingress list',
  summary: 'RTMP endpoints with their stream keys',
  usage: `ingress list ${COMMON_USAGE}`,
  async run(args) {
    const flags = parseFlags(args, COMMON_FLAGS);
    const api = await apiFor(flags);
    const items = await api.listIngress();
    return print(flags, items, ingressRow);
  },
};

const ingressCreate: CliCommand = {
  name: 'ingress create',
  summary: 'make a stream key for OBS or ffmpeg',
  usage: `ingress create --room NAME --identity NAME [--name NAME] ${COMMON_USAGE}`,
  async run(args) {
    const flags = parseFlags(args, {
      ...COMMON_FLAGS,
      room: { type: 'string' },
      identity: { type: 'string' },
      name: { type: 'string' },
    });
    if (flags.room === undefined || flags.identity === undefined) {
      throw new UsageError('--room and --identity are needed');
    }
    const api = await apiFor(flags);
    const info = await api.createIngress({
      name: flags.name ?? '',
      roomName: flags.room,
      participantIdentity: flags.identity,
    });
    return print(flags, [info], ingressRow);
  },
};

export const API_COMMANDS: readonly CliCommand[] = [
  roomList,
  egressList,
  egressStop,
  ingressList,
  ingressCreate,
];
