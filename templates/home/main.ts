import { call, loadOverview, loadStatus, SignInNeeded, useToken, type Recording } from './server.ts';
import { egressTable, ingressTable, recordingsTable, roomsList, statusChips } from './view.ts';

const REFRESH_MS = 2000;

function byId<T extends HTMLElement>(id: string, type: new () => T): T {
  const node = document.getElementById(id);
  if (!(node instanceof type)) {
    throw new Error(`the page has no #${id}`);
  }
  return node;
}

const main = byId('main', HTMLElement);
const signIn = byId('sign-in', HTMLFormElement);
const problem = byId('problem', HTMLParagraphElement);
const player = byId('player', HTMLDialogElement);
const video = byId('player-video', HTMLVideoElement);
/** What each part showed last: unchanged parts are left alone, so that text stays selected and focus stays. */
const shown = new Map<string, string>();

function show(id: string, data: unknown, render: () => HTMLElement | HTMLElement[]): void {
  const key = JSON.stringify(data);
  if (shown.get(id) !== key) {
    shown.set(id, key);
    byId(id, HTMLElement).replaceChildren(...[render()].flat());
  }
}

function report(error: unknown): void {
  problem.textContent = error instanceof Error ? error.message : String(error);
  problem.hidden = false;
}

/** Runs an API call for a click, shows what went wrong, and refreshes. */
function act(work: () => Promise<unknown>): void {
  problem.hidden = true;
  work().then(refresh, report).catch(report);
}

async function refresh(): Promise<void> {
  const status = await loadStatus();
  show('status', status, () => statusChips(status));
  const { ingress, rooms, egress, recordings } = await loadOverview();
  signIn.hidden = true;
  main.hidden = false;
  show('ingress', ingress, () =>
    ingressTable(ingress, (id) => act(() => call('Ingress', 'DeleteIngress', { ingress_id: id }))),
  );
  show('rooms', rooms, () => roomsList(rooms, record));
  show('egress', egress, () =>
    egressTable(egress, (id) => act(() => call('Egress', 'StopEgress', { egress_id: id }))),
  );
  // Links are signed anew with every answer; the file itself decides whether the row changed.
  const files = recordings.map(({ path, bytes, modifiedAtMs }) => [path, bytes, modifiedAtMs]);
  show('recordings', [files, Math.floor(Date.now() / 1_800_000)], () => recordingsTable(recordings, play));
}

function record(room: string): void {
  act(() =>
    call('Egress', 'StartRoomCompositeEgress', {
      room_name: room,
      layout: 'grid',
      file_outputs: [{ filepath: '{room_name}-{time}.mp4' }],
    }),
  );
}

function play(recording: Recording): void {
  byId('player-name', HTMLElement).textContent = recording.path;
  video.src = recording.url;
  player.showModal();
}

byId('new-ingress', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault();
  const room = byId('room', HTMLInputElement).value;
  act(() =>
    call('Ingress', 'CreateIngress', {
      input_type: byId('input-type', HTMLSelectElement).value,
      name: 'OBS',
      room_name: room,
      participant_identity: `obs-${Math.random().toString(36).slice(2, 6)}`,
      participant_name: 'OBS',
    }),
  );
});

signIn.addEventListener('submit', (event) => {
  event.preventDefault();
  useToken(byId('token', HTMLInputElement).value.trim());
  act(() => Promise.resolve());
});

byId('player-close', HTMLButtonElement).addEventListener('click', () => player.close());
player.addEventListener('close', () => {
  video.removeAttribute('src');
  video.load();
});

async function loop(): Promise<void> {
  try {
    await refresh();
    if (problem.dataset['lost'] === 'true') {
      problem.hidden = true;
      delete problem.dataset['lost'];
    }
  } catch (error) {
    if (error instanceof SignInNeeded) {
      main.hidden = true;
      signIn.hidden = false;
    } else {
      problem.dataset['lost'] = 'true';
      report(error instanceof TypeError ? new Error('The server does not answer.') : error);
    }
  }
  setTimeout(() => void loop(), REFRESH_MS);
}

void loop();
