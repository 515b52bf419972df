import * as livekit from '@livekit/protocol';
import type { StreamTarget } from '../egress-plan.ts';
import { invalidField, notSupported } from '../presets.ts';

/** Schemes of the addresses each protocol takes; mux: and twitch: are short forms of RTMP addresses. */
const PROTOCOL_BY_SCHEME: Readonly<Record<string, StreamTarget['protocol']>> = {
  'rtmp:': 'rtmp',
  'rtmps:': 'rtmp',
  'mux:': 'rtmp',
  'twitch:': 'rtmp',
  'srt:': 'srt',
};

/** By the number on the wire; the default follows the addresses. */
const NAMED_PROTOCOLS: readonly (StreamTarget['protocol'] | undefined)[] = [undefined, 'rtmp', 'srt'];

/** @throws ServiceError invalid_argument or unimplemented naming the field, never the address: it holds a key. */
export function readStreams(output: livekit.StreamOutput): StreamTarget {
  if (output.protocol === livekit.StreamProtocol.WEBSOCKET) {
    throw notSupported('stream_outputs.protocol WEBSOCKET');
  }
  const protocols = output.urls.map((url) => {
    const protocol = PROTOCOL_BY_SCHEME[/^[a-z]+:(?=\/\/\S)/i.exec(url)?.[0].toLowerCase() ?? ''];
    if (protocol === undefined) {
      throw invalidField('stream_outputs.urls (rtmp://, rtmps://, mux://, twitch:// or srt://)');
    }
    return protocol;
  });
  const protocol = NAMED_PROTOCOLS[output.protocol] ?? protocols[0] ?? 'rtmp';
  if (protocols.some((other) => other !== protocol)) {
    throw invalidField(`stream_outputs.urls (all must be ${protocol.toUpperCase()} addresses)`);
  }
  return { protocol, urls: [...output.urls] };
}
