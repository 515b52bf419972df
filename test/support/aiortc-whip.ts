import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { startWhipProcess, type WhipProcess } from './whip-process.ts';

const LIBRARY = '/usr/lib/python3/dist-packages/aiortc';
const SCRIPT = fileURLToPath(new URL('aiortc-whip.py', import.meta.url));

/** A WHIP client on Debian's aiortc: 320 × 240 and Opus. */
export function startAiortcWhip(options: { url: string; token: string; codec: 'H264' | 'VP8' }): WhipProcess {
  if (!existsSync(LIBRARY)) {
    throw new Error('no aiortc: install the Debian package python3-aiortc');
  }
  return startWhipProcess('/usr/bin/python3', [SCRIPT, options.url, options.token, options.codec]);
}
