import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { amfObject, encodeAmf0, type AmfValue } from '../../services/protocol/amf0.ts';
import { FLV_TAG, FlvReader, flvTag } from '../../services/protocol/flv.ts';
import { RTMP_MESSAGE } from '../../services/protocol/rtmp-message.ts';
import type { TimedMessage } from './enhanced-rtmp.ts';
import { RtmpClient } from './rtmp-client.ts';
import type { RunningPeer } from './rtmp-peers.ts';

/** Habits of encoders on the wire; everything left out is as usual. */
export type WireHabits = {
  /** 128 is what RTMP starts with. */
  chunkBytes?: number;
  /** Of the first message. */
  startMs?: number;
  /** The encoder's clock jumps. */
  jump?: { atMs: number; byMs: number };
  /** Ids above 63 take two bytes, above 319 three. */
  chunkStreams?: { audio: number; video: number };
  /** Sound and picture of 100 ms in one message of type 22. */
  aggregate?: boolean;
  /** Commands as AMF3 messages. */
  amf3?: boolean;
  /** Sequence headers come twice. */
  repeatHeaders?: boolean;
  /** Added to every composition time. */
  compositionMs?: number;
};

const AGGREGATE_MS = 100;

/** Audio and video tags of an FLV file. */
export async function messagesOf(file: string): Promise<TimedMessage[]> {
  return new FlvReader()
    .push(await readFile(file))
    .filter(({ typeId }) => typeId !== FLV_TAG.script)
    .map(({ typeId, timestampMs, body }) => ({ typeId, timestampMs, payload: body }));
}

/** One film after the other on one clock, as an encoder does whose settings are changed while it sends. */
export function oneAfterTheOther(
  first: readonly TimedMessage[],
  second: readonly TimedMessage[],
): TimedMessage[] {
  const startMs = (first.at(-1)?.timestampMs ?? 0) + 33;
  return [...first, ...second.map((message) => ({ ...message, timestampMs: message.timestampMs + startMs }))];
}

/** Sends messages at their own pace to the RTMP server at this port; `stop` says goodbye. */
export async function publishMessages(
  port: number,
  streamKey: string,
  messages: readonly TimedMessage[],
  habits: WireHabits = {},
): Promise<RunningPeer> {
  const client = new RtmpClient(port).handshake();
  const command = (name: string, ...args: AmfValue[]): void => {
    if (habits.amf3 === true) {
      const payload = Buffer.concat([Buffer.of(0), encodeAmf0([name, 1, ...args])]);
      client.send({ typeId: RTMP_MESSAGE.commandAmf3, messageStreamId: 0, payload }, 3);
    } else {
      client.command(name, ...args);
    }
  };
  command('connect', amfObject({ app: 'live', tcUrl: `rtmp://127.0.0.1:${port}/live`, objectEncoding: 0 }));
  command('createStream', null);
  command('publish', null, streamKey, 'live');
  const { code, description } = await client.status();
  if (code !== 'NetStream.Publish.Start') {
    throw new Error(`publish refused: ${JSON.stringify(description)}`);
  }
  if (habits.chunkBytes !== undefined) {
    client.setChunkBytes(habits.chunkBytes);
  }
  const stopped = new AbortController();
  const sent = send(
    client,
    habits.aggregate === true ? aggregated(messages) : messages,
    habits,
    stopped.signal,
  );
  return {
    output: () => JSON.stringify(client.statuses()),
    async stop() {
      stopped.abort();
      await sent;
      if (!client.socket.destroyed) {
        command('deleteStream', null, 1);
      }
      await Promise.race([client.closed, delay(2_000, undefined, { ref: false })]);
      client.close();
    },
  };
}

async function send(
  client: RtmpClient,
  messages: readonly TimedMessage[],
  habits: WireHabits,
  signal: AbortSignal,
): Promise<void> {
  const { startMs = 0, jump, chunkStreams = { audio: 4, video: 6 } } = habits;
  const openedMs = performance.now();
  for (const message of messages) {
    const waitMs = openedMs + message.timestampMs - performance.now();
    if (waitMs > 1) {
      await delay(waitMs, undefined, { signal }).catch(() => undefined);
    }
    if (signal.aborted || client.socket.destroyed) {
      return;
    }
    const isAudio = message.typeId === RTMP_MESSAGE.audio;
    const jumpMs = jump !== undefined && message.timestampMs >= jump.atMs ? jump.byMs : 0;
    const out = {
      typeId: message.typeId,
      timestampMs: (message.timestampMs + startMs + jumpMs) >>> 0,
      payload: shifted(message, habits.compositionMs ?? 0),
    };
    const stream = isAudio ? chunkStreams.audio : chunkStreams.video;
    client.send(out, stream);
    if (habits.repeatHeaders === true && message.payload[1] === 0) {
      client.send(out, stream);
    }
  }
}

/** H.264 in FLV's own form. */
function shifted({ typeId, payload }: TimedMessage, byMs: number): Buffer {
  if (byMs === 0 || typeId !== RTMP_MESSAGE.video || payload[1] !== 1) {
    return payload;
  }
  const copy = Buffer.from(payload);
  copy.writeIntBE(copy.readIntBE(2, 3) + byMs, 2, 3);
  return copy;
}

function aggregated(messages: readonly TimedMessage[]): TimedMessage[] {
  const groups = new Map<number, TimedMessage[]>();
  for (const message of messages) {
    const slot = Math.floor(message.timestampMs / AGGREGATE_MS);
    groups.set(slot, [...(groups.get(slot) ?? []), message]);
  }
  return [...groups.values()].map((group) => ({
    typeId: RTMP_MESSAGE.aggregate,
    timestampMs: group[0]?.timestampMs ?? 0,
    payload: Buffer.concat(
      group.map(({ typeId, timestampMs, payload }) => flvTag(typeId, timestampMs, [payload])),
    ),
  }));
}
