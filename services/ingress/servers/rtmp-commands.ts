import { ServiceError } from '../../base/errors.ts';
import { amfObject, decodeAmf0, encodeAmf0, type AmfObject, type AmfValue } from '../../protocol/amf0.ts';
import { RTMP_MESSAGE, type RtmpMessage } from '../../protocol/rtmp-message.ts';

export type RtmpCommand = {
  name: string;
  /** 0 when the peer wants no answer; anything that is not a finite number counts as 0. */
  transactionId: number;
  args: readonly AmfValue[];
};

/** @throws ServiceError malformed */
export function parseCommand(message: RtmpMessage, maxBytes: number): RtmpCommand {
  const body = amf0Body(message, RTMP_MESSAGE.commandAmf3, maxBytes);
  const [name, transactionId, ...args] = decodeAmf0(body);
  if (typeof name !== 'string') {
    throw new ServiceError('malformed', 'RTMP: command without a name');
  }
  return {
    name,
    transactionId: typeof transactionId === 'number' && Number.isFinite(transactionId) ? transactionId : 0,
    args,
  };
}

/**
 * onMetaData, bare or wrapped in @setDataFrame; undefined for all other data messages, and for those that cannot be
 * read (AMF3): nothing depends on metadata.
 * @throws ServiceError resource_exhausted
 */
export function parseMetadata(message: RtmpMessage, maxBytes: number): AmfObject | undefined {
  const body = amf0Body(message, RTMP_MESSAGE.dataAmf3, maxBytes);
  let values: readonly AmfValue[];
  try {
    values = decodeAmf0(body);
  } catch {
    return undefined;
  }
  const start = values[0] === '@setDataFrame' ? 1 : 0;
  const metadata = values[start + 1];
  return values[start] === 'onMetaData' && metadata instanceof Map ? metadata : undefined;
}

/**
 * AMF3 messages carry AMF0 behind a zero byte as long as no AMF3 value is used; nothing else is supported. Some
 * encoders leave the byte out: no command and no metadata begins with a number, which is what it would be then.
 */
function amf0Body(message: RtmpMessage, amf3Type: number, maxBytes: number): Buffer {
  if (message.payload.length > maxBytes) {
    throw new ServiceError(
      'resource_exhausted',
      `RTMP: a command or metadata of ${message.payload.length} bytes is above the limit of ${maxBytes}`,
    );
  }
  const prefixed = message.typeId === amf3Type && message.payload[0] === 0;
  return prefixed ? message.payload.subarray(1) : message.payload;
}

/**
 * Last path element of the publish name without "?query", as LiveKit reads it. An encoder with one field for the whole
 * address sends an empty name and everything in the application's: then its last element counts.
 */
export function streamKeyOf(publishName: string, app = ''): string {
  return lastElement(publishName) || lastElement(app);
}

function lastElement(name: string): string {
  const path = name.split('?', 1)[0] ?? '';
  return path.slice(path.lastIndexOf('/') + 1);
}

function command(messageStreamId: number, values: readonly AmfValue[]): RtmpMessage {
  return {
    typeId: RTMP_MESSAGE.commandAmf0,
    messageStreamId,
    timestampMs: 0,
    payload: encodeAmf0(values),
  };
}

/** @param capabilities further properties of the answer. */
export function connectResult(
  transactionId: number,
  capabilities: Readonly<Record<string, AmfValue>> = {},
): RtmpMessage {
  return command(0, [
    '_result',
    transactionId,
    amfObject({ fmsVer: 'FMS/3,0,1,123', capabilities: 31, ...capabilities }),
    amfObject({
      level: 'status',
      code: 'NetConnection.Connect.Success',
      description: 'Connection succeeded.',
      objectEncoding: 0,
    }),
  ]);
}

/** @param value what a call answers: a message stream id for createStream. */
export function callResult(transactionId: number, value?: number): RtmpMessage {
  return command(0, ['_result', transactionId, null, value]);
}

export type StatusCode =
  | 'NetStream.Publish.Start'
  | 'NetStream.Publish.BadName'
  | 'NetStream.Publish.Failed'
  | 'NetStream.Play.Failed'
  | 'NetStream.Unpublish.Success';

const ERROR_CODES: ReadonlySet<StatusCode> = new Set<StatusCode>([
  'NetStream.Publish.BadName',
  'NetStream.Publish.Failed',
  'NetStream.Play.Failed',
]);

export function onStatus(messageStreamId: number, code: StatusCode, description: string): RtmpMessage {
  const level = ERROR_CODES.has(code) ? 'error' : 'status';
  return command(messageStreamId, ['onStatus', 0, null, amfObject({ level, code, description })]);
}

/** Enhanced RTMP v2, "Reconnect Request": the encoder connects again and takes its stream along. */
export function reconnectRequest(description: string): RtmpMessage {
  return command(0, [
    'onStatus',
    0,
    null,
    amfObject({ level: 'status', code: 'NetConnection.Connect.ReconnectRequest', description }),
  ]);
}

/** Flash Media Live Encoder waits for this before it publishes. */
export function onFcPublish(): RtmpMessage {
  return command(0, [
    'onFCPublish',
    0,
    null,
    amfObject({ code: 'NetStream.Publish.Start', description: 'FCPublish accepted.' }),
  ]);
}
