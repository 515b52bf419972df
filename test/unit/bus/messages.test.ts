import { readFile, readdir } from 'node:fs/promises';
import path from 'node:path';
import type { MessageType } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import * as frames from '../../../services/bus/psrpc-frames.ts';
import * as messages from '../../../services/bus/rpc-messages.ts';
import { encode, hasProtoc, PROTO_DIR, VECTORS } from '../../fixtures/psrpc/encode.mjs';

const TYPES = new Map(
  [...Object.values(frames), ...Object.values(messages)]
    .filter((value): value is MessageType => typeof value === 'function' && 'typeName' in value)
    .map((type) => [type.typeName, type]),
);

async function golden(): Promise<Record<string, string>> {
  const file = path.resolve(import.meta.dirname, '../../fixtures/psrpc/vectors.json');
  return JSON.parse(await readFile(file, 'utf8')) as Record<string, string>;
}

function typeOf(name: string): MessageType {
  const type = TYPES.get(name);
  if (type === undefined) {
    throw new Error(`no runtime description of ${name}`);
  }
  return type;
}

/** message → "number name" of its fields, as the .proto files have them. */
async function declaredFields(): Promise<Map<string, string[]>> {
  const declared = new Map<string, string[]>();
  for (const file of (await readdir(PROTO_DIR)).filter((name) => name !== 'livekit-parts.proto')) {
    const source = await readFile(path.join(PROTO_DIR, file), 'utf8');
    const packageName = /^package (\w+);/m.exec(source)?.[1] ?? '';
    for (const [, name = '', body = ''] of source.matchAll(/^message (\w+) \{(?:\}|([\s\S]*?)^\})/gm)) {
      const fields = [...body.matchAll(/(\w+) = (\d+);/g)].map(([, field, no]) => `${no} ${field}`);
      declared.set(`${packageName}.${name}`, fields.sort());
    }
  }
  return declared;
}

describe('messages on the bus', () => {
  it.each(VECTORS)('$name: reads and writes the bytes protoc makes', async ({ name, type }) => {
    const hex = (await golden())[name] ?? 'missing';
    const read = typeOf(type).fromBinary(Buffer.from(hex, 'hex'));
    expect(Buffer.from(read.toBinary()).toString('hex')).toBe(hex);
    expect(read.getType().runtime.bin.listUnknownFields(read)).toEqual([]);
  });

  it('reads what the text of the vectors says', async () => {
    const bytes = async (name: string): Promise<Buffer> => Buffer.from((await golden())[name] ?? '', 'hex');
    expect(frames.Request.fromBinary(await bytes('request'))).toMatchObject({
      requestId: 'REQ_1',
      clientId: 'CLI_1',
      sentAt: 1700000000123456789n,
      expiry: 1700000003123456789n,
      multi: true,
      metadata: { trace: 'ü' },
    });
    expect(frames.ClaimRequest.fromBinary(await bytes('claim')).affinity).toBe(0.5);
    expect(messages.RpcStartEgressRequest.fromBinary(await bytes('start_web'))).toMatchObject({
      egressId: 'EG_1',
      request: { case: 'web', value: { url: 'https://host' } },
      estimatedCpu: 1.25,
      retryCount: -2,
    });
  });

  it('describes every field of the .proto files, and no other', async () => {
    const declared = await declaredFields();
    declared.delete('internal.Any');
    expect([...declared.keys()].sort()).toEqual(
      [...TYPES.keys()].filter((name) => !name.startsWith('google.')).sort(),
    );
    for (const [name, fields] of declared) {
      const described = typeOf(name)
        .fields.list()
        .map((field) => `${field.no} ${field.name}`);
      expect(described.sort(), name).toEqual(fields);
    }
  });

  it.runIf(hasProtoc())('has the golden bytes protoc makes today', async () => {
    const derived = Object.fromEntries(VECTORS.map((vector) => [vector.name, encode(vector)]));
    expect(derived).toEqual(await golden());
  });
});
