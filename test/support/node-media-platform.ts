import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { freePort, untilAccepts } from './ports.ts';

const PROGRAM = `
const NodeMediaServer = require(process.argv[1]);
const log = console.log;
console.log = () => undefined;
const server = new NodeMediaServer({
  bind: '127.0.0.1', rtmp: { port: Number(process.argv[2]) }, store: { path: './data' }, record: { path: './recordings' },
});
server.on('postPublish', ({ broadcast }) => { broadcast.publishGraceMs = 1; });
server.on('doneRecord', ({ streamName, filePath }) => log('RECORDED ' + streamName + ' ' + filePath));
server.run();
`;

export type NodeMediaPlatform = {
  port: number;
  url(key: string): string;
  /** The recording of a publisher that has ended. */
  recorded(key: string): Promise<string>;
  close(): Promise<void>;
};

/** node-media-server as a streaming platform that records what it is sent; in a process and folder of its own. */
export async function startNodeMediaPlatform(): Promise<NodeMediaPlatform> {
  const folder = await mkdtemp(path.join(tmpdir(), 'sluice-nms-'));
  const port = await freePort();
  const module = createRequire(import.meta.url).resolve('node-media-server');
  const child = spawn(process.execPath, ['-e', PROGRAM, module, String(port)], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const recordings = new Map<string, string>();
  const waiting = new Map<string, (file: string) => void>();
  createInterface({ input: child.stdout }).on('line', (line) => {
    const [, key = '', file = ''] = /RECORDED (\S+) (\S+)/.exec(line) ?? [];
    if (key !== '') {
      const absolute = path.resolve(folder, file);
      recordings.set(key, absolute);
      waiting.get(key)?.(absolute);
    }
  });
  await untilAccepts(port, child);
  return {
    port,
    url: (key) => `rtmp://127.0.0.1:${port}/live/${key}`,
    recorded: async (key) =>
      recordings.get(key) ?? new Promise<string>((resolve) => void waiting.set(key, resolve)),
    async close() {
      const gone = new Promise((resolve) => child.once('close', resolve));
      child.kill('SIGKILL');
      await gone;
      await rm(folder, { recursive: true, force: true });
    },
  };
}
