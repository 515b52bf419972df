import { pathToFileURL } from 'node:url';
import { createLogger } from '../base/logger.ts';
import { startTemplateServer, type TemplateServer } from '../egress/template-server.ts';
import type { ExitCode } from './command.ts';
import { progress, say } from './console.ts';
import { playAct, type DemoJob, type FinishedJob } from './demo-act.ts';
import {
  audioOnlyJob,
  compositeJob,
  participantJob,
  templateJob,
  trackCompositeJob,
  trackJob,
  type JobOptions,
} from './demo-jobs.ts';
import { recordingLinks } from './demo-links.ts';
import { publishByRtmp, publishByWhip, type Publisher, type PublisherOptions } from './demo-publishers.ts';
import { writeDemoPage } from './demo-page.ts';
import { demoReport, rowsOf, type DemoRow } from './demo-report.ts';
import { DEMO_PICTURE } from './demo-source.ts';
import { LiveKitApi } from './livekit-api.ts';
import { startRecordingPlatform } from './rtmp-platform.ts';
import type { Tools } from './tools.ts';
import type { ServerAccess } from './twirp-client.ts';

export type DemoOptions = {
  access: ServerAccess;
  /** The server goes on after the demo, so that links to it are of use. */
  serverStays: boolean;
  tools: Tools;
  /** Built pages. */
  templatesDir: string;
  /** Length of each recording. */
  seconds: number;
  viaPlatform: boolean;
  signal: AbortSignal;
};

const ROOM = 'demo-room';
/** Besides the recordings themselves: start, end, three acts. */
const OVERHEAD_SECONDS = 240;
const ACTS = 3;

/** Two streams in, every kind of egress out, all of it checked. @returns 0 when everything is what was asked for. */
export async function runDemo(options: DemoOptions): Promise<ExitCode> {
  const { access, tools, signal } = options;
  const startedAtMs = Date.now();
  say(`server ${access.url}, room "${ROOM}"`);
  const stage = new DemoStage(options);
  try {
    const jobs = await stage.play();
    const rows = await stage.end();
    for (const [index, job] of jobs.entries()) {
      progress(`  decoding what was recorded, ${index + 1} of ${jobs.length}`);
      rows.push(...(await rowsOf(tools, job)));
    }
    progress('');
    const files = rows.flatMap((row) => row.files);
    const links = options.serverStays ? await recordingLinks(access, files) : new Map<string, string>();
    process.stdout.write(`\n${demoReport(rows, links)}\n`);
    const page = await writeDemoPage(rows, stage.folder);
    if (page !== undefined) {
      say(`see and hear it all: ${pathToFileURL(page).href}`);
    }
    if (options.serverStays) {
      say(`the server has it, too: ${access.url}/`);
    }
    const failed = rows.filter((row) => row.problems.length > 0).length;
    const took = `${((Date.now() - startedAtMs) / 1000).toFixed(0)} s`;
    say(failed === 0 ? `all ${rows.length} ok, in ${took}` : `${failed} of ${rows.length} FAILED, see above`);
    return failed === 0 ? 0 : 1;
  } catch (error) {
    progress('');
    throw signal.aborted ? signal.reason : error;
  } finally {
    await stage.close();
  }
}

/** Who streams into the room, and what is recorded of them. */
class DemoStage {
  readonly #options: DemoOptions;
  readonly #api: LiveKitApi;
  readonly #publishers: Publisher[] = [];
  readonly #logger = createLogger({ level: 'error' });
  /** Of this run, in the storage. */
  readonly folder = `demo/${new Date().toISOString().slice(0, 19).replaceAll(':', '')}`;
  #pages: TemplateServer | undefined;

  constructor(options: DemoOptions) {
    this.#options = options;
    this.#api = new LiveKitApi(options.access);
  }

  /** Publishes and records, in acts that two cores can carry. */
  async play(): Promise<FinishedJob[]> {
    const { seconds, tools, templatesDir, viaPlatform, signal } = this.#options;
    this.#pages = await startTemplateServer({ rootDir: templatesDir, port: 0, logger: this.#logger });
    const publishing: PublisherOptions = {
      ...{ api: this.#api, room: ROOM, tools, signal },
      maxSeconds: ACTS * seconds + OVERHEAD_SECONDS,
    };
    const camera = await publishByRtmp({ ...publishing, viaPlatform });
    this.#publishers.push(camera);
    const run: JobOptions = { api: this.#api, room: ROOM, seconds, folder: this.folder };
    const { chromiumPath } = tools;
    if (chromiumPath === undefined) {
      say('without Chromium there is no WHIP publisher and no page to record: only what needs none');
      return this.#act('recording tracks and sound', [
        cameraTrackJob(run, camera),
        audioOnlyJob(run),
        trackCompositeJob(run, camera),
      ]);
    }
    const pageUrl = `${this.#pages.baseUrl}/whip-demo/`;
    const browser = await publishByWhip({
      ...publishing,
      ...{ browserPath: chromiumPath, pageUrl, logger: this.#logger },
    });
    this.#publishers.push(browser);
    return [
      ...(await this.#compositeAct(run, camera, browser)),
      ...(await this.#act('recording the room with a page of our own', [
        templateJob(run, `${this.#pages.baseUrl}/starter/`),
      ])),
      ...(await this.#act('recording one participant, and two tracks as one file', [
        participantJob(run, browser),
        trackCompositeJob(run, camera),
      ])),
    ];
  }

  async #compositeAct(run: JobOptions, camera: Publisher, browser: Publisher): Promise<FinishedJob[]> {
    const platform = await startRecordingPlatform({ program: process.argv[1] ?? '' });
    try {
      return await this.#act(
        'recording the room to MP4, HLS, images and two RTMP platforms; the sound; two tracks',
        [
          compositeJob(run, platform),
          audioOnlyJob(run),
          cameraTrackJob(run, camera),
          trackJob(run, browser.audio, {
            route: `sound of ${browser.identity} → OGG`,
            name: 'browser-sound.ogg',
            expected: { audio: 'opus' },
            keyFrameIntervalSeconds: 0,
          }),
        ],
      );
    } finally {
      await platform.close();
    }
  }

  async #act(title: string, jobs: DemoJob[]): Promise<FinishedJob[]> {
    const signals = [this.#options.signal, ...this.#publishers.map(({ lost }) => lost)];
    const signal = AbortSignal.any(signals);
    try {
      const { seconds } = this.#options;
      return await playAct({ api: this.#api, title: `${title}, for ${seconds} s`, jobs, seconds, signal });
    } catch (error) {
      throw signal.aborted ? signal.reason : error;
    }
  }

  /** Ends the streams in order. @returns their lines in the table. */
  async end(): Promise<DemoRow[]> {
    return Promise.all(this.#publishers.map((publisher) => publisher.end()));
  }

  async close(): Promise<void> {
    await Promise.all(this.#publishers.map((publisher) => publisher.close()));
    await this.#pages?.close();
  }
}

function cameraTrackJob(run: JobOptions, camera: Publisher): DemoJob {
  return trackJob(run, camera.video, {
    route: `picture of ${camera.identity} → MP4`,
    name: 'camera-track.mp4',
    expected: { video: { codec: 'h264', width: DEMO_PICTURE.width, height: DEMO_PICTURE.height } },
    keyFrameIntervalSeconds: DEMO_PICTURE.keyFrameIntervalSeconds,
  });
}
