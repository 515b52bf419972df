/* eslint-disable @typescript-eslint/no-deprecated -- the oneof field of that name is not deprecated, only one of its cases is */
import { DisconnectReason, LeaveRequest_Action } from '@livekit/protocol';
import { afterEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { encodeJoinRequest } from '../../../services/protocol/signal.ts';
import { JoinRequest } from '@livekit/protocol';
import { KEY, SignalHarness, type JoinOptions } from './signal-harness.ts';
import { mintToken } from '../../../services/protocol/token.ts';

let harness: SignalHarness;
afterEach(() => harness.close());

/** Status and body of a refused upgrade. */
function refusedUpgrade(
  path: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${harness.baseUrl}${path}`, { headers });
    socket.on('open', () => {
      reject(new Error('the upgrade was accepted'));
    });
    socket.on('error', () => undefined);
    socket.on('unexpected-response', (_req, res) => {
      let body = '';
      res.on('data', (chunk: Buffer) => {
        body += chunk.toString();
      });
      res.on('end', () => {
        resolve({ status: res.statusCode ?? 0, body });
      });
    });
  });
}

async function refusal(identity: string, options: JoinOptions): Promise<{ status: number; body: string }> {
  const token = await harness.token(identity, options);
  const path = `/rtc/v1?access_token=${token}&join_request=${encodeJoinRequest(new JoinRequest())}`;
  const upgrade = await refusedUpgrade(path);
  const validate = await fetch(`http://${harness.baseUrl}${path.replace('/rtc/v1?', '/rtc/v1/validate?')}`);
  expect({ status: validate.status, body: await validate.text() }).toEqual(upgrade);
  return upgrade;
}

describe('joining', () => {
  it('needs a valid token with roomJoin, an identity and a room, and says the same on validate', async () => {
    harness = await new SignalHarness().start();
    expect(await refusal('alice', { video: { roomJoin: false } })).toMatchObject({ status: 401 });
    expect(await refusal('', {})).toEqual({ status: 400, body: 'identity cannot be empty' });
    expect(await refusal('alice', { video: { room: '' } })).toEqual({ status: 400, body: 'no room name' });
    expect((await refusal('alice', { video: { room: 'r'.repeat(300) } })).body).toContain('room name length');
    expect((await refusal('a'.repeat(300), {})).body).toContain('identity length');
    expect(await refusal('alice', { token: { ttlS: -60 } })).toMatchObject({ status: 401 });

    const forged = await mintToken(KEY, 'another-secret-another-secret-another', {
      identity: 'alice',
      video: { roomJoin: true, room: 'room' },
    });
    const { status, body } = await refusedUpgrade(`/rtc/v1?access_token=${forged}`);
    expect(status).toBe(401);
    expect(body).not.toContain(forged);
    expect((await refusedUpgrade('/rtc/v1')).status).toBe(401);
    expect((await refusedUpgrade('/rtc/v1?access_token=garbage')).status).toBe(401);
  });

  it('takes the token from the header too, and the room from the query when the token names none', async () => {
    harness = await new SignalHarness().start();
    const token = await harness.token('alice', { video: { room: '' } });
    const headers = { authorization: `Bearer ${token}` };
    const response = await fetch(`http://${harness.baseUrl}/rtc/v1/validate?room=r1`, { headers });
    expect([response.status, await response.text()]).toEqual([200, 'success']);
    expect(response.headers.get('access-control-allow-origin')).toBe('*');
    expect((await fetch(`http://${harness.baseUrl}/rtc/validate?room=r1`, { headers })).status).toBe(200);
  });

  it('takes a wish for batched media within its limits, and nothing that is no number', async () => {
    harness = await new SignalHarness().start();
    const wishes = { '': 0, '200': 200, '100000': 500, '-5': 0 };
    for (const [wish, batchMs] of Object.entries(wishes)) {
      const query = wish === '' ? '' : `&sluice_batch_ms=${wish}`;
      const client = await harness.join(`recorder${wish}`, { query });
      expect(harness.batchMs.get(client.sid)).toBe(batchMs);
    }
    const token = await harness.token('alice');
    for (const wish of ['often', '', 'NaN', 'Infinity']) {
      const { status, body } = await refusedUpgrade(
        `/rtc/v1?access_token=${token}&join_request=${encodeJoinRequest(new JoinRequest())}&sluice_batch_ms=${wish}`,
      );
      expect({ wish, status }).toEqual({ wish, status: 400 });
      expect(body).toContain('sluice_batch_ms');
    }
  });

  it('leaves other paths alone', async () => {
    harness = await new SignalHarness().start();
    expect((await refusedUpgrade('/elsewhere')).status).toBe(404);
    expect((await fetch(`http://${harness.baseUrl}/rtc/v2/validate`)).status).toBe(404);
  });

  it('refuses join requests that are no protobuf, or bombs', async () => {
    harness = await new SignalHarness().start();
    const token = await harness.token('alice');
    const bomb = encodeJoinRequest(new JoinRequest({ metadata: 'x'.repeat(2_000_000) }));
    for (const joinRequest of ['%%%', 'AAAA', bomb]) {
      const { status, body } = await refusedUpgrade(
        `/rtc/v1?access_token=${token}&join_request=${joinRequest}`,
      );
      expect(status).toBe(400);
      expect(body).toContain('join_request');
    }
  });

  it('says LiveKit’s words for an unknown room when rooms are not made on joining', async () => {
    harness = await new SignalHarness({ defaults: { autoCreate: false } }).start();
    expect(await refusal('alice', {})).toEqual({ status: 404, body: 'requested room does not exist' });
    harness.rooms.create({ name: 'room' });
    await harness.join('alice');
  });

  it('limits connections', async () => {
    harness = await new SignalHarness({ limits: { maxConnections: 1, maxPendingUpgrades: 8 } }).start();
    await harness.join('alice');
    const { status } = await refusedUpgrade(`/rtc/v1?access_token=${await harness.token('bob')}`);
    expect(status).toBe(503);
  });

  it('refuses a full room with leave, but not its recorders', async () => {
    harness = await new SignalHarness().start();
    harness.rooms.create({ name: 'room', maxParticipants: 1 });
    await harness.join('alice');
    const bob = await harness.open('bob');
    expect(await bob.next('leave')).toMatchObject({
      reason: DisconnectReason.JOIN_FAILURE,
      action: LeaveRequest_Action.DISCONNECT,
    });
    await harness.join('recorder', { video: { recorder: true, hidden: true } });
  });
});

describe('frames', () => {
  it('answers JSON clients in JSON', async () => {
    harness = await new SignalHarness().start();
    const client = await harness.join('alice');
    client.socket.removeAllListeners('message');
    const answer = new Promise<string>((resolve) => {
      client.socket.once('message', (data: Buffer, isBinary) => {
        resolve(`${String(isBinary)} ${data.toString()}`);
      });
    });
    client.socket.send(JSON.stringify({ pingReq: { timestamp: '5' }, unknownField: 1 }));
    expect(await answer).toMatch(/^false \{"pongResp":\{"lastPingTimestamp":"5"/);
  });

  it('survives garbage, and ends a client that floods', async () => {
    harness = await new SignalHarness().start();
    const client = await harness.join('alice');
    client.socket.send(Buffer.from([0xff, 0xff, 0xff]));
    client.socket.send('{"not json');
    client.socket.send(Buffer.alloc(0));
    await client.settled();
    for (let count = 0; count < 1500; count += 1) {
      client.send({ case: 'ping', value: 1n });
    }
    await client.whenClosed();
    await harness.join('bob');
  });

  it('cuts frames above the limit', async () => {
    harness = await new SignalHarness().start();
    const client = await harness.join('alice');
    client.socket.send(Buffer.alloc(2 * 1024 * 1024));
    await client.whenClosed();
  });
});
