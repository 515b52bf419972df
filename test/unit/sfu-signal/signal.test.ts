import {
  ConnectionSettings,
  JoinRequest,
  WrappedJoinRequest,
  WrappedJoinRequest_Compression,
} from '@livekit/protocol';
import { expect, it } from 'vitest';
import {
  decodeJoinRequest,
  encodeJoinRequest,
  joinRequestFromQuery,
} from '../../../services/protocol/signal.ts';

const request = new JoinRequest({
  connectionSettings: new ConnectionSettings({ autoSubscribe: true, adaptiveStream: true }),
  reconnect: true,
  participantSid: 'PA_1',
});

it('reads join requests however they are wrapped', () => {
  expect(decodeJoinRequest(encodeJoinRequest(request))).toEqual(request);
  const plain = new WrappedJoinRequest({
    compression: WrappedJoinRequest_Compression.NONE,
    joinRequest: request.toBinary(),
  });
  expect(decodeJoinRequest(Buffer.from(plain.toBinary()).toString('base64'))).toEqual(request);
  expect(decodeJoinRequest('')).toEqual(new JoinRequest());
});

it('reads the query parameters of older clients as the same request', () => {
  const query = 'auto_subscribe=1&adaptive_stream=1&reconnect=1&sid=PA_1&sdk=js&version=2.1.0&protocol=15';
  const read = joinRequestFromQuery(new URLSearchParams(query));
  expect(read.clientInfo).toMatchObject({ version: '2.1.0', protocol: 15 });
  expect(read).toMatchObject({ reconnect: true, participantSid: 'PA_1' });
  expect(read.connectionSettings).toMatchObject({ autoSubscribe: true, adaptiveStream: true });
  expect(joinRequestFromQuery(new URLSearchParams('auto_subscribe=0&protocol=x'))).toMatchObject({
    reconnect: false,
    connectionSettings: { autoSubscribe: false },
    clientInfo: { protocol: 0 },
  });
});
