import { setTimeout as delay } from 'node:timers/promises';
import { EgressStatus, EncodedFileOutput, EncodedFileType } from 'livekit-server-sdk';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { flashBeepPage, startPageServer, type PageServer } from '../support/capture-page.ts';
import { expectCaptured } from '../support/captured-report.ts';
import { egressSdkPage, LAYOUT_COLOURS } from '../support/egress-sdk-page.ts';
import { ffprobe, streamOf } from '../support/ffprobe.ts';
import { analyzeFlashBeep } from '../support/flash-beep.ts';
import { freshName } from '../support/fresh-name.ts';
import { watchMachine } from '../support/machine-load.ts';
import { isNear, meanColour } from '../support/picture.ts';
import { ROOM, startPublishedRoom, type PublishedRoom } from '../support/published-room.ts';

const { EGRESS_ACTIVE, EGRESS_COMPLETE } = EgressStatus;
const MP4 = (name: string): { file: EncodedFileOutput } => ({
  file: new EncodedFileOutput({ fileType: EncodedFileType.MP4, filepath: `${freshName(name)}.mp4` }),
});

describe('pages of the customer', () => {
  let studio: PublishedRoom | undefined;
  let pages: PageServer | undefined;
  const use = (): PublishedRoom => studio ?? expect.fail('the room did not start');
  const pageUrl = (path: string): string => `${pages?.url ?? ''}${path}`;

  beforeAll(async () => {
    pages = await startPageServer({ '/show/': await egressSdkPage(), '/flash': flashBeepPage() });
    studio = await startPublishedRoom();
  }, 240_000);
  afterEach(() => studio?.stopJobs());
  afterAll(async () => {
    await studio?.close();
    await pages?.close();
  });

  it('records a page written with @livekit/egress-sdk, and UpdateLayout changes its pixels', async () => {
    const { egress, reach } = use();
    const { egressId } = await egress.startRoomCompositeEgress(ROOM, MP4('custom'), {
      layout: 'studio',
      customBaseUrl: pageUrl('/show/'),
    });
    await reach(egressId, EGRESS_ACTIVE);
    await delay(4_000);
    await egress.updateLayout(egressId, 'sunset');
    await delay(4_000);
    await egress.stopEgress(egressId);
    const info = await reach(egressId, EGRESS_COMPLETE);
    const file = info.fileResults[0]?.location ?? '';
    expect(streamOf(await ffprobe(file), 'video')).toMatchObject({ width: 1280, height: 720 });
    const durationS = Number(info.fileResults[0]?.duration ?? 0) / 1e9;
    const empty = { x: 0.9, y: 0.9 };
    expect(await meanColour(file, 1, empty)).toSatisfy((rgb: number[]) => isNear(rgb, LAYOUT_COLOURS.studio));
    expect(await meanColour(file, durationS - 1.5, empty)).toSatisfy((rgb: number[]) =>
      isNear(rgb, LAYOUT_COLOURS.sunset),
    );
    // The room's picture is in it, too: not the colour of the page.
    expect(await meanColour(file, 3, { x: 0.25, y: 0.25 })).not.toSatisfy((rgb: number[]) =>
      isNear(rgb, LAYOUT_COLOURS.studio),
    );
  });

  it('refuses UpdateLayout of a job that has ended', async () => {
    const { egress, reach } = use();
    const { egressId } = await egress.startRoomCompositeEgress(ROOM, MP4('ended'), {
      customBaseUrl: pageUrl('/nowhere'),
    });
    await reach(egressId, EgressStatus.EGRESS_FAILED);
    await expect(egress.updateLayout(egressId, 'grid')).rejects.toMatchObject({
      code: 'failed_precondition',
    });
  });

  it('records any page on the web, without a room', async () => {
    const { egress, reach } = use();
    const { egressId, roomName } = await egress.startWebEgress(pageUrl('/flash'), MP4('web'), {
      awaitStartSignal: true,
    });
    expect(roomName).toBe('');
    await reach(egressId, EGRESS_ACTIVE);
    const load = watchMachine();
    await delay(12_000);
    const wasBusy = load();
    await egress.stopEgress(egressId);
    const info = await reach(egressId, EGRESS_COMPLETE);
    const file = info.fileResults[0]?.location ?? '';
    const probe = await ffprobe(file);
    expect(streamOf(probe, 'video')).toMatchObject({ codec_name: 'h264', width: 1280, height: 720 });
    expect(streamOf(probe, 'audio')).toMatchObject({ codec_name: 'aac' });
    expectCaptured(await analyzeFlashBeep(file), { recordedS: 12, wasBusy, minFps: 24, minRatio: 0.9 });
  });

  it('says what is wrong with a page that is not there', async () => {
    const { egress, reach } = use();
    const missing = await egress.startWebEgress(pageUrl('/nowhere'), MP4('missing'));
    const info = await reach(missing.egressId, EgressStatus.EGRESS_FAILED);
    expect(info.error).toMatch(/page load error.*404/i);
  });
});
