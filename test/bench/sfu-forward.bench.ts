import { fork, type ChildProcess } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { build } from 'esbuild';
import type { BenchRow } from '../support/bench-row.ts';
import type { LoadMessage, LoadReply, NodeReply } from './sfu-forward-messages.ts';

/**
 * What it costs to send packets on: one publisher, N receivers, in a process of its own whose CPU time is measured while
 * another one generates and swallows the packets. 1180-byte payloads with three header extensions, AEAD_AES_128_GCM.
 * The baseline is werift's own RTCPeerConnection doing the same in the same run.
 */
const SECONDS = 5;
const TARGET_CPU_S_PER_10K = 0.15;
/** Packets in per second: below saturation, but busy enough that timers do not dominate. */
const CASES = [
  { receivers: 1, packetsPerSecond: 6000, weriftPacketsPerSecond: 3000 },
  { receivers: 10, packetsPerSecond: 3000, weriftPacketsPerSecond: 1000 },
  { receivers: 50, packetsPerSecond: 600, weriftPacketsPerSecond: 250 },
] as const;

export async function bench(): Promise<BenchRow[]> {
  // Inside the repository, so that the bundles find node_modules.
  const folder = path.resolve('node_modules/.cache', `sluice-bench-sfu-${process.pid}`);
  await mkdir(folder, { recursive: true });
  try {
    await build({
      entryPoints: {
        node: path.resolve('test/bench/sfu-forward-node.ts'),
        load: path.resolve('test/bench/sfu-forward-load.ts'),
      },
      outdir: folder,
      outExtension: { '.js': '.mjs' },
      bundle: true,
      platform: 'node',
      format: 'esm',
      packages: 'external',
      logLevel: 'error',
    });
    const rows: BenchRow[] = [];
    for (const { receivers, packetsPerSecond, weriftPacketsPerSecond } of CASES) {
      const sluice = await measure(folder, 'sluice', receivers, packetsPerSecond);
      const werift = await measure(folder, 'werift', receivers, weriftPacketsPerSecond);
      rows.push({
        name: `SFU packets out, N=${receivers} (${sluice.packets} packets, ${sluice.lostPercent.toFixed(1)} % lost)`,
        value: sluice.cpuSecondsPer10k,
        unit: 'CPU s per 10 000 packets',
        ...(receivers === 10 ? { target: TARGET_CPU_S_PER_10K } : {}),
        baseline: { name: 'werift RTCPeerConnection', value: werift.cpuSecondsPer10k },
      });
    }
    return rows;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

type Measurement = { cpuSecondsPer10k: number; packets: number; lostPercent: number };

async function measure(
  folder: string,
  implementation: 'sluice' | 'werift',
  receivers: number,
  packetsPerSecond: number,
): Promise<Measurement> {
  const load = fork(path.join(folder, 'load.mjs'), { stdio: 'inherit' });
  const node = fork(path.join(folder, 'node.mjs'), [implementation], { stdio: 'inherit' });
  try {
    // Offers travel from the load generator to the node under test, answers back.
    const connect = async (role: 'publisher' | 'receiver'): Promise<void> => {
      load.send({ type: 'offer', role } satisfies LoadMessage);
      const offer = await reply<LoadReply, 'offer'>(load, 'offer');
      node.send({ type: 'connect', role, sdp: offer.sdp });
      const answer = await reply<NodeReply, 'answer'>(node, 'answer');
      const connected = reply<LoadReply, 'connected'>(load, 'connected');
      load.send({ type: 'answer', sdp: answer.sdp } satisfies LoadMessage);
      await connected;
    };
    await connect('publisher');
    for (let index = 0; index < receivers; index += 1) {
      await connect('receiver');
    }
    node.send({ type: 'settle' });
    await reply<NodeReply, 'settled'>(node, 'settled');
    load.send({ type: 'prepare', packetsPerSecond, seconds: SECONDS } satisfies LoadMessage);
    await reply<LoadReply, 'prepared'>(load, 'prepared');
    node.send({ type: 'start' });
    await reply<NodeReply, 'started'>(node, 'started');
    load.send({ type: 'start' } satisfies LoadMessage);
    const done = await reply<LoadReply, 'done'>(load, 'done');
    node.send({ type: 'stop' });
    const result = await reply<NodeReply, 'result'>(node, 'result');
    const expected = done.sent * receivers;
    return {
      cpuSecondsPer10k: (result.cpuSeconds / result.packetsOut) * 10_000,
      packets: result.packetsOut,
      lostPercent: 100 * (1 - done.received / expected),
    };
  } finally {
    await Promise.all([end(load), end(node)]);
  }
}

function reply<Reply extends { type: string }, Type extends Reply['type']>(
  child: ChildProcess,
  type: Type,
): Promise<Extract<Reply, { type: Type }>> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null): void => reject(new Error(`bench process ended with ${code}`));
    const onMessage = (message: unknown): void => {
      const candidate = message as Reply;
      if (candidate.type === type) {
        child.off('message', onMessage);
        child.off('exit', onExit);
        resolve(candidate as Extract<Reply, { type: Type }>);
      }
    };
    child.on('message', onMessage);
    child.once('exit', onExit);
  });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    await new Promise<void>((resolve) => {
      child.once('exit', () => resolve());
      child.kill('SIGKILL');
    });
  }
}
