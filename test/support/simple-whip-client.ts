import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { startWhipProcess, type WhipProcess } from './whip-process.ts';

const CLIENT = '/usr/bin/whip-client';
/**
 * Debian's client uses libsoup 2, and libnice (by way of UPnP) libsoup 3, which ends any process that has both. A libnice
 * that finds no UPnP does not need it: these are all the functions it takes from libgupnp-igd.
 */
const NO_UPNP = `
unsigned long gupnp_simple_igd_get_type(void) { return 80; }
void *gupnp_simple_igd_thread_new(void) { return 0; }
void gupnp_simple_igd_add_port(void) {}
void gupnp_simple_igd_remove_port_local(void) {}
`;
/** A beep of 100 ms every second, and a picture that turns from black to white and back. */
const AUDIO = [
  'audiotestsrc is-live=true wave=ticks freq=1000 sine-periods-per-tick=100 tick-interval=1000000000',
  'audioconvert ! audioresample ! queue ! opusenc ! rtpopuspay pt=100 ssrc=1 ! queue',
  'application/x-rtp,media=audio,encoding-name=OPUS,payload=100',
].join(' ! ');
const VIDEO = [
  'videotestsrc is-live=true pattern=blink ! video/x-raw,width=320,height=240,framerate=2/1',
  'videorate ! video/x-raw,framerate=30/1 ! videoconvert ! queue',
  'vp8enc deadline=1 keyframe-max-dist=30 ! rtpvp8pay pt=96 ssrc=2 ! queue',
  'application/x-rtp,media=video,encoding-name=VP8,payload=96',
].join(' ! ');

/** Meetecho's simple-whip-client on GStreamer's webrtcbin, as Debian ships it: VP8 of 320 × 240 and Opus. */
export function startSimpleWhipClient(options: {
  url: string;
  token: string;
  flags?: readonly string[];
}): WhipProcess {
  if (!existsSync(CLIENT)) {
    throw new Error('no WHIP client: install the Debian packages simple-whip-client and tcc');
  }
  const dir = mkdtempSync(path.join(tmpdir(), 'sluice-whip-client-'));
  writeFileSync(path.join(dir, 'no-upnp.c'), NO_UPNP);
  const library = path.join(dir, 'libgupnp-igd-1.0.so.4');
  const built = spawnSync('tcc', ['-shared', '-o', library, path.join(dir, 'no-upnp.c')]);
  if (built.status !== 0) {
    throw new Error(`tcc: ${built.error?.message ?? built.stderr.toString()}`);
  }
  return startWhipProcess(
    CLIENT,
    [
      ...['--url', options.url, '--token', options.token, '--disable-colors', '--log-level', '7'],
      ...(options.flags ?? []),
      ...['--audio', AUDIO, '--video', VIDEO],
    ],
    { env: { LD_LIBRARY_PATH: dir }, onEnded: () => rmSync(dir, { recursive: true, force: true }) },
  );
}
