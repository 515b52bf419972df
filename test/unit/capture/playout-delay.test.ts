import type { Page } from 'puppeteer';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { delayPlayout } from '../../../services/egress/capture/playout-delay.ts';

class Connection {
  readonly receivers = [{ jitterBufferTarget: null }, { jitterBufferTarget: 40 }];
  readonly descriptions: unknown[] = [];

  getReceivers(): unknown[] {
    return this.receivers;
  }

  setRemoteDescription(description: unknown): Promise<void> {
    this.descriptions.push(description);
    return Promise.resolve();
  }
}

/** Runs the script where it is: this process plays the page. */
const page = {
  evaluateOnNewDocument: (script: (argument: number) => void, argument: number) => {
    script(argument);
    return Promise.resolve();
  },
} as unknown as Page;

describe('the playout delay of a page that is recorded', () => {
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  it('is one for all tracks that came with a description, but for those with a wish of their own', async () => {
    vi.stubGlobal('RTCPeerConnection', Connection);
    await delayPlayout(page);
    const connection = new Connection();
    await connection.setRemoteDescription('answer');
    expect(connection.descriptions).toEqual(['answer']);
    expect(connection.receivers.map(({ jitterBufferTarget }) => jitterBufferTarget)).toEqual([300, 40]);
  });

  it('leaves a browser without WebRTC alone', async () => {
    await expect(delayPlayout(page)).resolves.toBeUndefined();
  });
});
