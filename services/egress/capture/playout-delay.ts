import type { Page } from 'puppeteer';

/** The built-in template asks for the same (templates/composite/room-tiles.ts). */
const PLAYOUT_DELAY_MS = 300;

/** The little of a browser's WebRTC that is needed here. */
type Receiver = { jitterBufferTarget: number | null };
type Connection = { getReceivers(): Receiver[]; setRemoteDescription(...args: unknown[]): Promise<void> };

/**
 * Has the page receive every WebRTC track with one delay for pictures and sound, unless it asks for another. Left to
 * itself, Chrome starts each at its own least delay and takes many seconds to bring them together; a recording is in no
 * hurry. Call before the page is opened.
 */
export async function delayPlayout(page: Page): Promise<void> {
  await page.evaluateOnNewDocument((delayMs) => {
    const connections = globalThis as unknown as { RTCPeerConnection?: { prototype: Connection } };
    const prototype = connections.RTCPeerConnection?.prototype;
    if (prototype === undefined) {
      return;
    }
    const setRemoteDescription = Reflect.get(prototype, 'setRemoteDescription');
    prototype.setRemoteDescription = async function delayed(this: Connection, ...args) {
      await setRemoteDescription.apply(this, args);
      for (const receiver of this.getReceivers()) {
        receiver.jitterBufferTarget ??= delayMs;
      }
    };
  }, PLAYOUT_DELAY_MS);
}
