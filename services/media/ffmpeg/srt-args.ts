import type { SrtAddress } from '../../model/stream-url.ts';

/** FLV from stdin to MPEG-TS over SRT, nothing transcoded; progress on stdout. */
export function srtSendArgs(address: SrtAddress, presetFile: string): string[] {
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  return [
    ...['-v', 'error', '-progress', 'pipe:1', '-stats_period', '0.5'],
    ...['-probesize', '500000', '-analyzeduration', '1000000', '-f', 'flv', '-i', 'pipe:0'],
    // A silent track would hold the other one back for ten seconds.
    ...['-map', '0', '-dn', '-c', 'copy', '-max_interleave_delta', '1000000'],
    ...['-f', 'mpegts', '-muxdelay', '0', '-muxpreload', '0', '-flush_packets', '1'],
    ...['-fpre', presetFile, `srt://${host}:${address.port}`],
  ];
}

/**
 * The connection's options as an ffmpeg preset file: unlike a command line, only its owner can read it.
 * ffmpeg counts the latency in microseconds, everybody else in milliseconds.
 */
export function srtSecretPreset(address: SrtAddress): string {
  const { streamId, passphrase, keyLengthBytes, latencyMs } = address;
  const options: [string, string][] = [
    ['mode', 'caller'],
    ['transtype', 'live'],
    // Seconds for what is unsent when the stream ends; live mode would throw it away.
    ['linger', '2'],
    ...(streamId === '' ? [] : [['srt_streamid', streamId] as [string, string]]),
    ...(passphrase === '' ? [] : [['passphrase', passphrase] as [string, string]]),
    ...(keyLengthBytes === 0 ? [] : [['pbkeylen', String(keyLengthBytes)] as [string, string]]),
    ...(latencyMs === 0 ? [] : [['latency', String(latencyMs * 1000)] as [string, string]]),
  ];
  return options.map(([name, value]) => `${name}=${value}\n`).join('');
}
