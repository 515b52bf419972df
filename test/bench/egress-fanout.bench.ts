import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parsePlaylist } from '../../services/media/hls/playlist.ts';
import type { EgressOutputs } from '../../services/model/egress-plan.ts';
import type { BenchRow } from '../support/bench-row.ts';
import { openSession } from '../support/egress-session.ts';
import { startNginxRtmp, type NginxRtmp } from '../support/nginx-rtmp.ts';
import { flashBeepPackets, playPackets, type FlashBeepPackets } from '../support/packet-feed.ts';

const MEASURED_S = Number(process.env['BENCH_SECONDS'] ?? 20);
const TARGETS = 3;
const TARGET_CORES = 0.1;
const UNIT = 'CPU s / media s';

/**
 * What segments and three stream addresses add to a job that writes a file: one encode, 720p at about 3 Mbit/s, fed in
 * real time. Counted: the process of the job; not counted: the encode, which is the same for both, and nginx.
 */
export async function bench(): Promise<BenchRow[]> {
  const clip = await flashBeepPackets({
    seconds: MEASURED_S,
    keyIntervalS: 4,
    width: 1280,
    height: 720,
    bitrateKbps: 3000,
  });
  const nginx = await startNginxRtmp();
  try {
    const alone = await measure(clip, nginx, false);
    const all = await measure(clip, nginx, true);
    const baseline = { name: 'file alone', value: alone };
    return [
      {
        ...{ name: `HLS + live playlist + ${TARGETS} RTMP targets on top of a file`, unit: UNIT },
        value: Math.max(0, all - alone),
        target: TARGET_CORES,
      },
      { name: `file + HLS + ${TARGETS} RTMP targets, without the encode`, unit: UNIT, value: all, baseline },
    ];
  } finally {
    await nginx.close();
    await clip.remove();
  }
}

/** CPU seconds per second of media. @throws Error when an output did not get everything. */
async function measure(clip: FlashBeepPackets, nginx: NginxRtmp, withAll: boolean): Promise<number> {
  const folder = await mkdtemp(path.join(tmpdir(), 'sluice-bench-fanout-'));
  await mkdir(path.join(folder, 'work'));
  const storage = { kind: 'local' as const, rootDir: folder };
  const outputs: EgressOutputs = {
    file: { kind: 'mp4', filepath: 'whole.mp4', disableManifest: true, storage },
    images: [],
    ...(withAll
      ? {
          segments: {
            ...{ filenamePrefix: 'seg', playlistName: 'all', livePlaylistName: 'live', suffix: 'index' },
            ...{ segmentDurationS: 4, disableManifest: true, storage },
          },
          streams: {
            protocol: 'rtmp',
            urls: Array.from({ length: TARGETS }, (_, index) => nginx.url(`fanout-${index}`)),
          },
        }
      : {}),
  };
  try {
    const { session, source, record } = openSession(folder, { outputs });
    const running = session.run();
    for (const format of clip.formats) {
      source.events.emit('format', format);
    }
    const before = process.cpuUsage();
    await playPackets(clip.packets, (packet) => {
      source.events.emit('packet', packet);
    });
    const { user, system } = process.cpuUsage(before);
    session.stop('stop_requested');
    await running;
    if (record.state !== 'complete') {
      throw new Error(`the job ended as ${record.state}: ${record.snapshot().error}`);
    }
    if (withAll) {
      const listed = parsePlaylist(await readFile(path.join(folder, 'all.m3u8'), 'utf8'));
      const streams = record.snapshot().streamResults;
      if (listed.length < MEASURED_S / 4 - 1 || streams.some(({ error }) => error !== '')) {
        throw new Error(`an output fell short: ${listed.length} segments`);
      }
    }
    return (user + system) / 1e6 / MEASURED_S;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
