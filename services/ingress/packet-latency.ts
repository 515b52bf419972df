export type IngressKind = 'rtmp' | 'srt' | 'whip' | 'url';

/**
 * Told of every packet that leaves for its room: how much later that is than its time on the session clock, which its
 * encoder's first packet set. Below 0 when the encoder sends ahead of time. WHIP that is not transcoded does not come by.
 */
export type OnPacketLatency = (input: IngressKind, track: 'audio' | 'video', latencyUs: number) => void;

/** As a session takes it. */
export function latencyOf(options: { onPacketLatency?: OnPacketLatency }): { onLatency?: OnPacketLatency } {
  return options.onPacketLatency === undefined ? {} : { onLatency: options.onPacketLatency };
}
