import { createSocket } from 'node:dgram';
import { access, constants, mkdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { messageOf } from '../base/errors.ts';
import { createLogger } from '../base/logger.ts';
import { mediaBindAddress } from './addresses.ts';
import { parseFlags, type CliCommand } from './command.ts';
import { CONFIG_FLAGS, CONFIG_FLAGS_USAGE, loadFromFlags } from './config-flags.ts';
import { portUnlessOff } from './ingress-urls.ts';
import { findTools } from './tools.ts';

type Finding = { check: string; ok: boolean; detail: string };

/** Looks at everything `serve` will need, changes nothing, and ends with 1 when something is missing. */
export const doctorCommand: CliCommand = {
  name: 'doctor',
  summary: 'check ffmpeg, Chromium, ports and folders before a start',
  usage: `doctor [--json] [flags]\n${CONFIG_FLAGS_USAGE}`,
  async run(args) {
    const flags = parseFlags(args, { ...CONFIG_FLAGS, json: { type: 'boolean' } });
    const { config } = await loadFromFlags(flags);
    const mediaAddress = mediaBindAddress(config);
    const findings = [
      ...(await checkTools()),
      await check(`TCP port ${config.port} (HTTP)`, () =>
        tcpPortFree(config.port, config.bind_addresses[0] ?? '127.0.0.1'),
      ),
      ...(await checkListener('RTMP', config.ingress.rtmp_port, mediaAddress)),
      ...(await checkListener('WHIP', config.ingress.whip_port, mediaAddress)),
      await check(`UDP port ${config.rtc.udp_port} (WebRTC)`, () =>
        udpPortFree(config.rtc.udp_port, mediaAddress),
      ),
      ...(config.rtc.tcp_port === 0
        ? []
        : [
            await check(`TCP port ${config.rtc.tcp_port} (WebRTC)`, () =>
              tcpPortFree(config.rtc.tcp_port, mediaAddress),
            ),
          ]),
      await check(`folder ${path.resolve(config.recordings_dir)}`, () => writable(config.recordings_dir)),
    ];
    if (flags.json === true) {
      process.stdout.write(`${JSON.stringify(findings, null, 2)}\n`);
    } else {
      for (const { check: name, ok, detail } of findings) {
        process.stdout.write(`${ok ? 'ok  ' : 'FAIL'}  ${name}${detail === '' ? '' : `: ${detail}`}\n`);
      }
    }
    return findings.every((finding) => finding.ok) ? 0 : 1;
  },
};

async function checkTools(): Promise<Finding[]> {
  try {
    const { summary, chromiumPath } = await findTools(createLogger({ level: 'silent' }));
    return [
      { check: 'ffmpeg', ok: true, detail: [summary.ffmpeg, ...summary.limits].join('; ') },
      { check: 'ffprobe', ok: summary.ffprobe === 'found', detail: summary.ffprobe },
      { check: 'Chromium', ok: chromiumPath !== undefined, detail: summary.chromium },
    ];
  } catch (error) {
    return [{ check: 'ffmpeg', ok: false, detail: messageOf(error) }];
  }
}

/** Nothing to say about one that is off. */
async function checkListener(name: string, port: number, address: string): Promise<Finding[]> {
  return portUnlessOff(port) === undefined
    ? []
    : [await check(`TCP port ${port} (${name})`, () => tcpPortFree(port, address))];
}

async function check(name: string, attempt: () => Promise<void>): Promise<Finding> {
  try {
    await attempt();
    return { check: name, ok: true, detail: '' };
  } catch (error) {
    return { check: name, ok: false, detail: messageOf(error) };
  }
}

function tcpPortFree(port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(port, host, () => server.close(() => resolve()));
  });
}

function udpPortFree(port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4');
    socket.once('error', reject);
    socket.bind(port, host, () => socket.close(() => resolve()));
  });
}

async function writable(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await access(folder, constants.W_OK);
}
