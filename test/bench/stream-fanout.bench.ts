import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { createLogger } from '../../services/base/logger.ts';
import { StreamGroup } from '../../services/egress/outputs/stream-group.ts';
import type { BenchRow } from '../support/bench-row.ts';
import { startNginxRtmp, type NginxRtmp } from '../support/nginx-rtmp.ts';
import { flashBeepPackets, playPackets, type FlashBeepPackets } from '../support/packet-feed.ts';
import { processTreeCpuS } from '../support/process-cpu.ts';

const SECONDS = 20;
const WARM_UP_ROUNDS = 1;
const UNIT = 'CPU s / media s';
const TARGETS = 3;
/** Of the +0.1 core that HLS, a file and three streams may cost together. */
const TARGET = 0.05;

/**
 * Sending one 720p encode to three RTMP platforms: this process, less what handing the packets over costs without any
 * platform, against one ffmpeg that copies a file to the same three.
 */
export async function bench(): Promise<BenchRow[]> {
  const clip = await flashBeepPackets({ seconds: SECONDS, width: 1280, height: 720, bitrateKbps: 3000 });
  const nginx = await startNginxRtmp();
  try {
    await measureGroup(nginx, clip, WARM_UP_ROUNDS);
    const alone = await measureGroup(nginx, clip, 0);
    const value = Math.max(0, (await measureGroup(nginx, clip, TARGETS)) - alone);
    const baseline = { name: 'one ffmpeg, -c copy', value: await measureFfmpeg(nginx, clip) };
    return [
      { name: `${TARGETS} RTMP targets, 720p at 3 Mbit/s`, value, unit: UNIT, target: TARGET, baseline },
    ];
  } finally {
    await nginx.close();
    await clip.remove();
  }
}

async function measureGroup(nginx: NginxRtmp, clip: FlashBeepPackets, targets: number): Promise<number> {
  const urls = Array.from({ length: targets }, (_, index) => nginx.url(`ours-${targets}-${index}`));
  const group = new StreamGroup({
    ...{ protocol: 'rtmp', urls, kinds: ['video', 'audio'], ffmpegPath: '', workDir: '' },
    logger: createLogger({ level: 'silent' }),
    onChange: () => undefined,
    onEmpty: () => undefined,
    onRefused: (error) => {
      throw error;
    },
  });
  for (const format of clip.formats) {
    group.addTrack(format);
  }
  await sleep(500);
  const before = process.cpuUsage();
  await playPackets(clip.packets, (packet) => {
    if (targets > 0) {
      group.write(packet);
    }
  });
  const { user, system } = process.cpuUsage(before);
  const lost = group.results.filter(({ startedAt, retries }) => startedAt === 0n || retries > 0);
  await group.finish();
  if (lost.length > 0 || group.droppedMessages > 0) {
    throw new Error('a stream was interrupted: the figure would be too good');
  }
  return (user + system) / 1e6 / SECONDS;
}

async function measureFfmpeg(nginx: NginxRtmp, clip: FlashBeepPackets): Promise<number> {
  const outputs = Array.from({ length: TARGETS }, (_, index) => [
    ...['-map', '0', '-c', 'copy', '-f', 'flv', nginx.url(`theirs-${index}`)],
  ]);
  const child = spawn(
    'ffmpeg',
    ['-v', 'error', '-re', '-stream_loop', '-1', '-i', clip.file, ...outputs.flat()],
    { stdio: 'ignore' },
  );
  const { pid } = child;
  if (pid === undefined) {
    throw new Error('ffmpeg does not start');
  }
  await sleep(1000);
  const [beforeS, startMs] = [await processTreeCpuS([pid]), performance.now()];
  await sleep(SECONDS * 500);
  const value = (await processTreeCpuS([pid])) - beforeS;
  const elapsedS = (performance.now() - startMs) / 1000;
  if (child.exitCode !== null) {
    throw new Error('ffmpeg ended before it was measured');
  }
  child.kill('SIGKILL');
  return value / elapsedS;
}
