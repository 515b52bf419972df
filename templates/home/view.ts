import type { Egress, Ingress, Participant, Recording, Room, Status, Track } from './server.ts';

/** Pure rendering: data in, elements out. Text only ever enters through textContent. */
type Child = Node | string;

export function element(tag: string, attributes: Record<string, string>, ...children: Child[]): HTMLElement {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

export function button(label: string, onClick: () => void): HTMLElement {
  const node = element('button', { type: 'button' }, label);
  node.addEventListener('click', onClick);
  return node;
}

function chip(text: string, kind = ''): HTMLElement {
  return element('span', { class: `chip ${kind}` }, text);
}

function table(heads: string[], rows: Child[][]): HTMLElement {
  const last = heads.length - 1;
  const cell = (tag: string) => (child: Child, index: number) =>
    element(tag, index === last ? { class: 'end' } : {}, child);
  return element(
    'table',
    {},
    element('thead', {}, element('tr', {}, ...heads.map(cell('th')))),
    element('tbody', {}, ...rows.map((row) => element('tr', {}, ...row.map(cell('td'))))),
  );
}

function empty(text: string): HTMLElement {
  return element('p', { class: 'soft' }, text);
}

export function statusChips(status: Status): HTMLElement[] {
  const tools = status.tools;
  return [
    chip(`v${status.version}`),
    ...status.services.map((name) => chip(name, 'live')),
    ...(status.ports.rtmp === 0 ? [] : [chip(`RTMP ${status.ports.rtmp}`)]),
    ...(status.ports.whip === 0 ? [] : [chip(`WHIP ${status.ports.whip}`)]),
    chip(`WebRTC ${status.ports.rtc_udp}/udp`),
    ...(tools === undefined ? [] : [chip(tools.chromium), chip(`ffmpeg ${tools.ffmpeg}`)]),
    ...(tools?.limits ?? []).map((limit) => chip(limit, 'bad')),
    ...(status.dev_keys ? [chip('development keys', 'bad')] : []),
  ];
}

const INGRESS_STATES: Record<string, [label: string, kind: string]> = {
  ENDPOINT_INACTIVE: ['waiting', ''],
  ENDPOINT_BUFFERING: ['connecting', ''],
  ENDPOINT_PUBLISHING: ['live', 'live'],
  ENDPOINT_ERROR: ['error', 'bad'],
  ENDPOINT_COMPLETE: ['ended', ''],
};

export function ingressTable(items: Ingress[], onDelete: (id: string) => void): HTMLElement {
  if (items.length === 0) {
    return empty('No stream key yet.');
  }
  const rows = items.map((item) => {
    const [label, kind] = INGRESS_STATES[item.state?.status ?? 'ENDPOINT_INACTIVE'] ?? ['unknown', ''];
    const state = chip(label, kind);
    state.title = item.state?.error ?? '';
    return [
      item.room_name,
      element('code', {}, item.url),
      element('code', {}, item.stream_key),
      state,
      button('Delete', () => onDelete(item.ingress_id)),
    ];
  });
  return table(['Room', 'Server', 'Stream key', 'State', ''], rows);
}

export function roomsList(rooms: Room[], onRecord: (room: string) => void): HTMLElement {
  if (rooms.length === 0) {
    return empty('No room is open. One opens when somebody joins or a stream starts.');
  }
  const rows = rooms.map((room) => {
    const people = room.participants.filter((participant) => participant.kind !== 'EGRESS');
    const list = people.length === 0 ? [empty('nobody')] : people.map(participantLine);
    return [
      element('b', {}, room.name),
      element('div', {}, ...list),
      button('Record', () => onRecord(room.name)),
    ];
  });
  return table(['Room', 'Participants', ''], rows);
}

function participantLine(participant: Participant): HTMLElement {
  return element(
    'div',
    { class: 'row' },
    participant.name === '' ? participant.identity : participant.name,
    ...(participant.kind === 'STANDARD' ? [] : [chip(participant.kind.toLowerCase())]),
    ...participant.tracks.map(trackChip),
  );
}

function trackChip(track: Track): HTMLElement {
  const codec = track.mime_type.split('/')[1] ?? '';
  const size = track.width > 0 ? ` ${String(track.width)}×${String(track.height)}` : '';
  const source = track.source === 'UNKNOWN' ? track.type : track.source;
  const label = `${source.toLowerCase().replaceAll('_', ' ')} ${codec}${size}${track.muted ? ', muted' : ''}`;
  return chip(label, track.muted ? '' : 'live');
}

const RUNNING = new Set(['EGRESS_STARTING', 'EGRESS_ACTIVE', 'EGRESS_ENDING']);

/** Running jobs, and the ones that failed lately with their reason. */
export function egressTable(items: Egress[], onStop: (id: string) => void): HTMLElement {
  const shown = items.filter((item) => RUNNING.has(item.status) || item.error !== '').slice(0, 10);
  if (shown.length === 0) {
    return empty('Nothing is being recorded.');
  }
  const rows = shown.map((item) => {
    const running = RUNNING.has(item.status);
    const state = chip(item.status.replace('EGRESS_', '').toLowerCase(), item.error === '' ? 'live' : 'bad');
    return [
      item.room_name,
      element('code', {}, item.egress_id),
      element('span', {}, state, ` ${item.error === '' ? item.details : item.error}`),
      running ? button('Stop', () => onStop(item.egress_id)) : '',
    ];
  });
  return table(['Room', 'Job', 'State', ''], rows);
}

/** Manifests lie beside the recordings: they can be read, not played. */
const PLAYABLE = /\.(mp4|webm|ogg|mp3|mkv|ts)$/i;

export function recordingsTable(items: Recording[], onPlay: (item: Recording) => void): HTMLElement {
  if (items.length === 0) {
    return empty('No recording yet.');
  }
  const rows = items.map((item) => [
    element('code', {}, item.path),
    new Date(item.modifiedAtMs).toLocaleString(),
    formatBytes(item.bytes),
    element(
      'span',
      {},
      ...(PLAYABLE.test(item.path) ? [button('Play', () => onPlay(item)), ' '] : []),
      element('a', { href: item.url, download: '' }, 'Download'),
    ),
  ]);
  return table(['File', 'Saved', 'Size', ''], rows);
}

function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = bytes < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3));
  return `${(bytes / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power] ?? ''}`;
}
