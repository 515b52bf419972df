import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Page } from 'puppeteer';
import { FLASH } from '../../fixtures/flash-beep.ts';
import type { TestBrowser } from './chromium.ts';
import { serveLivekitPage } from './livekit-page.ts';

/**
 * A WHIP client with nothing but RTCPeerConnection and fetch. It paints a white flash once a second and beeps with it;
 * the rest of the picture moves.
 */
const PAGE = `<!doctype html><meta charset="utf-8"><body><canvas width="640" height="360"></canvas><script>
const FLASH = ${JSON.stringify(FLASH)};
const app = window.app = {};
app.publish = async ({ url, bearer, codec }) => {
  const canvas = document.querySelector('canvas');
  const context = canvas.getContext('2d');
  const audio = new AudioContext({ sampleRate: 48000 });
  await audio.resume();
  const tone = new OscillatorNode(audio, { frequency: 1000 });
  const gain = new GainNode(audio, { gain: 0 });
  const out = new MediaStreamAudioDestinationNode(audio);
  tone.connect(gain).connect(out);
  tone.start();
  setInterval(() => {
    const on = audio.currentTime % 1 < 0.1;
    gain.gain.value = on ? 0.5 : 0;
    context.fillStyle = '#203040';
    context.fillRect(0, 0, 640, 360);
    context.fillStyle = 'hsl(' + (performance.now() / 10 % 360) + ' 80% 50%)';
    context.fillRect((performance.now() / 5) % 640, 300, 60, 60);
    if (on) {
      context.fillStyle = 'white';
      context.fillRect(FLASH.left * 640, FLASH.top * 360, (FLASH.right - FLASH.left) * 640, (FLASH.bottom - FLASH.top) * 360);
    }
  }, 33);
  const pc = app.pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  const sound = pc.addTransceiver(out.stream.getAudioTracks()[0], { direction: 'sendonly' });
  const picture = pc.addTransceiver(canvas.captureStream(30).getVideoTracks()[0], { direction: 'sendonly' });
  const codecs = RTCRtpSender.getCapabilities('video').codecs.filter(({ mimeType }) => mimeType === codec);
  picture.setCodecPreferences(codecs);
  await pc.setLocalDescription();
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/sdp', authorization: 'Bearer ' + bearer },
    body: pc.localDescription.sdp,
  });
  app.resource = { status: response.status, location: new URL(response.headers.get('location') ?? '', url).href,
    etag: response.headers.get('etag') };
  app.bearer = bearer;
  await pc.setRemoteDescription({ type: 'answer', sdp: await response.text() });
  return app.resource;
};
app.connected = () => app.pc?.connectionState;
/** RFC 9725 section 4.3.3. */
app.restart = async () => {
  const before = await app.pair();
  app.pc.restartIce();
  await app.pc.setLocalDescription();
  const { sdp } = app.pc.localDescription;
  const value = (name) => new RegExp('a=' + name + ':(.*)').exec(sdp)[1].trim();
  const response = await fetch(app.resource.location, {
    method: 'PATCH',
    headers: { 'content-type': 'application/trickle-ice-sdpfrag', 'if-match': '*', authorization: 'Bearer ' + app.bearer },
    body: 'a=ice-ufrag:' + value('ice-ufrag') + '\\r\\na=ice-pwd:' + value('ice-pwd') + '\\r\\n',
  });
  const fragment = await response.text();
  const part = (name) => new RegExp('a=' + name + ':(.*)').exec(fragment)[1].trim();
  const answer = app.pc.remoteDescription.sdp
    .replace(/a=ice-ufrag:.*/g, 'a=ice-ufrag:' + part('ice-ufrag'))
    .replace(/a=ice-pwd:.*/g, 'a=ice-pwd:' + part('ice-pwd'));
  await app.pc.setRemoteDescription({ type: 'answer', sdp: answer });
  return { status: response.status, etag: response.headers.get('etag'), before, ufrag: part('ice-ufrag') };
};
app.pair = async () => {
  const stats = [...(await app.pc.getStats()).values()];
  const transport = stats.find(({ type }) => type === 'transport');
  return { id: transport?.selectedCandidatePairId, ufrag: transport?.iceLocalUsernameFragment, bytes: transport?.bytesSent };
};
app.scaleDownBy = async (factor) => {
  const sender = app.pc.getSenders().find(({ track }) => track.kind === 'video');
  const parameters = sender.getParameters();
  parameters.encodings[0].scaleResolutionDownBy = factor;
  await sender.setParameters(parameters);
};
app.stop = async () => {
  app.pc.close();
  return (await fetch(app.resource.location, { method: 'DELETE', headers: { authorization: 'Bearer ' + app.bearer } })).status;
};
</script>`;

/** Pass as `onRequest`: serves this page beside the room page. */
export function serveWhipPage(req: IncomingMessage, res: ServerResponse): void {
  if (req.url === '/whip.html') {
    res.writeHead(200, { 'content-type': 'text/html' }).end(PAGE);
  } else {
    serveLivekitPage(req, res);
  }
}

export type WhipResource = { status: number; location: string; etag: string };

export async function openWhipPage(browser: TestBrowser, httpUrl: string): Promise<Page> {
  const page = await browser.newPage();
  await page.goto(`${httpUrl}/whip.html`);
  return page;
}
