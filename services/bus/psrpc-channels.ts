/**
 * Names of the Redis channels psrpc uses ("legacy" form, the one its Redis bus speaks): parts joined by "|",
 * empty parts left out, and every character outside [0-9A-Za-z_] written as its code point.
 */
type MethodName = { service: string; method: string };

/** Where clients publish requests. */
export function requestChannel({ service, method }: MethodName, topic = ''): string {
  return formatChannel(service, method, topic, 'REQ');
}

/** Where clients publish which server they chose. */
export function grantChannel({ service, method }: MethodName, topic = ''): string {
  return formatChannel(service, method, topic, 'RCLAIM');
}

/** Where one client hears bids. */
export function claimChannel(service: string, clientId: string): string {
  return formatChannel(service, clientId, 'CLAIM');
}

/** Where one client hears answers. */
export function responseChannel(service: string, clientId: string): string {
  return formatChannel(service, clientId, 'RES');
}

/** Our own notifications; LiveKit has no counterpart. */
export function eventChannel(channel: string): string {
  return formatChannel('Sluice', 'event', channel);
}

export function formatChannel(...parts: string[]): string {
  return parts
    .filter((part) => part !== '')
    .map(escapePart)
    .join('|');
}

function escapePart(part: string): string {
  return part.replace(/[^0-9A-Za-z_]/gu, (character) => {
    const codePoint = character.codePointAt(0) ?? 0;
    return codePoint < 0x10000
      ? `u+${codePoint.toString(16).padStart(4, '0')}`
      : `U+${codePoint.toString(16).padStart(8, '0')}`;
  });
}
