import { paintPicture } from './picture.ts';
import { playNotes } from './tone.ts';
import { publishByWhip, type WhipSession } from './whip-publisher.ts';

/** What `<body data-state>` shows; programs that drive this page wait for it. */
type State = 'idle' | 'connecting' | 'live' | 'ended' | 'failed';

function find<T extends Element>(selector: string, kind: new () => T): T {
  const element = document.querySelector(selector);
  if (!(element instanceof kind)) {
    throw new Error(`no ${selector} in this page`);
  }
  return element;
}
const [url, key] = [find('#url', HTMLInputElement), find('#key', HTMLInputElement)];
const status = find('#status', HTMLElement);
const picture = paintPicture(find('#picture', HTMLCanvasElement));
let sound: MediaStreamTrack | undefined;
let session: WhipSession | undefined;

function show(state: State, text: string): void {
  document.body.dataset['state'] = state;
  status.textContent = text;
}

async function start(): Promise<void> {
  await stop();
  show('connecting', 'Connecting …');
  sound ??= await playNotes();
  const started = await publishByWhip({ url: url.value, key: key.value, picture, sound });
  session = started;
  const follow = (): void => {
    if (started.connection.connectionState === 'connected') {
      show('live', 'Live.');
    } else if (started.connection.connectionState === 'failed') {
      show('failed', 'The connection was lost.');
    }
  };
  started.connection.addEventListener('connectionstatechange', follow);
  follow();
}

async function stop(): Promise<void> {
  const ending = session;
  session = undefined;
  if (ending !== undefined) {
    const answer = await ending.stop();
    show(answer === 200 ? 'ended' : 'failed', `Ended; the server answered DELETE with ${answer}.`);
  }
}

function run(action: () => Promise<void>): void {
  action().catch((error: unknown) => {
    show('failed', String(error));
  });
}

find('#form', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault();
  run(start);
});
find('#stop', HTMLButtonElement).addEventListener('click', () => {
  run(stop);
});

// #url=…&key=… publishes at once. Behind the hash, the key is never sent to the server that hosts this page.
const given = new URLSearchParams(location.hash.slice(1));
if (given.has('url') && given.has('key')) {
  url.value = given.get('url') ?? '';
  key.value = given.get('key') ?? '';
  history.replaceState(null, '', location.pathname);
  run(start);
}
