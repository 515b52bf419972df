import path from 'node:path';
import { build } from 'esbuild';

/** Background of every layout the page knows. */
export const LAYOUT_COLOURS = { studio: [0x2d, 0x6a, 0x4f], sunset: [0xb5, 0x4a, 0x1f] } as const;

/**
 * A customer's page: written as LiveKit's documentation shows, with the published @livekit/egress-sdk and
 * livekit-client, unchanged. The first video fills the left half; the colour of the rest names the layout.
 */
const SCRIPT = `
import { Room, RoomEvent } from 'livekit-client';
import EgressHelper from '@livekit/egress-sdk';

const colours = ${JSON.stringify(LAYOUT_COLOURS)};
function show(layout) {
  document.body.style.background = 'rgb(' + (colours[layout] ?? [0, 0, 0]).join(',') + ')';
}

const room = new Room({ adaptiveStream: false });
room.on(RoomEvent.TrackSubscribed, (track) => {
  const element = track.attach();
  element.addEventListener('playing', () => EgressHelper.startRecording(), { once: true });
  document.body.append(element);
});
EgressHelper.onLayoutChanged(show);
show(EgressHelper.getLayout());
await room.connect(EgressHelper.getLiveKitURL(), EgressHelper.getAccessToken());
EgressHelper.setRoom(room);
`;

/** The page with its script inside, ready to be served. */
export async function egressSdkPage(): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents: SCRIPT, resolveDir: path.resolve('.'), loader: 'js' },
    bundle: true,
    write: false,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'chrome120',
  });
  const script = (outputFiles[0]?.text ?? '').replaceAll('</script', '<\\/script');
  return `<!doctype html><meta charset="utf-8"><title>show</title>
<style>body{margin:0;overflow:hidden}video{position:absolute;left:0;top:0;width:50vw;height:50vh;object-fit:cover}</style>
<body><script type="module">${script}</script></body>`;
}
