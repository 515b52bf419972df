import type { Page } from 'puppeteer';
import { ServiceError } from '../../base/errors.ts';
import { SafeEmitter } from '../../base/events.ts';
import { createAudioTranscoder } from '../../media/ffmpeg/audio-transcoder.ts';
import type { AudioTranscoder } from '../../media/ffmpeg/audio-transcoder-types.ts';
import type { EncodedPacket } from '../../model/packet.ts';
import type { BrowserProcess } from '../browser/launch.ts';
import { openBrowser } from '../browser/spare-browser.ts';
import { CaptureSession } from '../capture/capture-session.ts';
import { CaptureSocket } from '../capture/capture-socket.ts';
import { delayPlayout } from '../capture/playout-delay.ts';
import { openRecorderTab, recordFromWithin, type RecorderTabOptions } from '../capture/recorder-tab.ts';
import { startTemplateServer, type TemplateServer } from '../template-server.ts';
import { PageConsole } from './page-console.ts';
import { openPage, pageCrashed, throwPageError } from './page-navigation.ts';
import type { PageSourceOptions } from './page-source-types.ts';
import { awaitStart } from './page-start.ts';
import { capturePath, pageUrl } from './page-target.ts';
import type { EgressSource, EgressSourceEvents } from './source-types.ts';

/** A page whose unload handlers take longer is not waited for. */
const LEAVE_TIMEOUT_MS = 1_000;

/** A web page or room template, captured inside its own Chrome. */
export function createPageSource(options: PageSourceOptions): EgressSource {
  return new PageSource(options);
}

class PageSource implements EgressSource {
  readonly events: SafeEmitter<EgressSourceEvents>;
  readonly #options: PageSourceOptions;
  readonly #console: PageConsole;
  readonly #socket: CaptureSocket;
  readonly #capture: CaptureSession;
  readonly #cleanups: (() => Promise<void>)[] = [];
  /** Rejects when browser, page or capture die; every step of start() races against it. */
  readonly #death: Promise<never>;
  #die: (error: ServiceError) => void = () => undefined;
  #transcoder: AudioTranscoder | undefined;
  #starting: Promise<void> | undefined;
  #isRecording = false;
  #hasEnded = false;
  /** Lets the page go as a visitor would, so that a room client in it says goodbye. */
  #leavePage: () => Promise<void> = () => Promise.resolve();
  #stopping: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: PageSourceOptions) {
    const { logger } = options;
    this.#options = options;
    this.events = new SafeEmitter(logger);
    this.#console = new PageConsole(logger);
    this.#socket = new CaptureSocket(logger);
    this.#capture = new CaptureSession(this.#socket, capturePath(options.target), logger);
    this.#death = new Promise<never>((_resolve, reject) => {
      this.#die = (error) => {
        reject(error);
        this.#fail(error);
      };
    });
    this.#death.catch(() => undefined);
  }

  async start(signal: AbortSignal): Promise<{ kinds: ('video' | 'audio')[] }> {
    const aborted = new Promise<never>((_resolve, reject) => {
      const abort = (): void => {
        reject(new ServiceError('canceled', 'stop called before the recording could start'));
      };
      signal.addEventListener('abort', abort, { once: true });
      if (signal.aborted) {
        abort();
      }
    });
    aborted.catch(() => undefined);
    this.#starting = this.#start();
    this.#starting.catch(() => undefined);
    try {
      await Promise.race([this.#starting, this.#death, aborted]);
    } catch (error) {
      this.#hasEnded = true;
      throw ServiceError.from(error);
    }
    return { kinds: this.#options.audioCodec === 'none' ? ['video'] : ['video', 'audio'] };
  }

  requestKeyframe(): void {
    this.#capture.requestKeyframe();
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  close(cause: string): Promise<void> {
    this.#closing ??= this.#close(cause);
    return this.#closing;
  }

  async #start(): Promise<void> {
    const { logger, templatesDir } = this.#options;
    const server = await startTemplateServer({
      rootDir: templatesDir,
      port: 0,
      logger,
      handleUpgrade: (request, socket, head) => this.#socket.handleUpgrade(request, socket, head),
    });
    this.#own(() => server.close());
    const url = pageUrl(this.#options.target, `${server.baseUrl}/composite/`);
    const browser = await (this.#options.openBrowser ?? openBrowser)(this.#options);
    this.#own(() => browser.close());
    browser.events.on('died', (error) => {
      this.#die(error);
    });
    await Promise.race([this.#run(browser, server, url), this.#death]);
  }

  async #run(browser: BrowserProcess, server: TemplateServer, url: string): Promise<void> {
    const page = await this.#preparePage(browser);
    this.#leavePage = async () => {
      await page.goto('about:blank', { timeout: LEAVE_TIMEOUT_MS }).catch(() => undefined);
    };
    const recorder = this.#recorderOptions(server, browser.captureTabTitle);
    const path = capturePath(this.#options.target);
    const isBuiltIn = path === 'stage';
    if (path === 'room_template') {
      await delayPlayout(page);
    }
    if (!isBuiltIn) {
      // Capture begins on the blank tab: it survives navigation, and the page's own title does not matter.
      await openRecorderTab(browser.browser, page, recorder);
      await this.#synchronise();
    }
    const started = this.#startSignal();
    await openPage(page, url);
    if (isBuiltIn) {
      // It shows errors only once it has tried to join; awaitStart() looks for them.
      await recordFromWithin(page, recorder);
      await this.#synchronise();
    } else {
      await throwPageError(page);
    }
    await awaitStart(page, started, {
      url,
      timeoutMs: this.#options.startTimeoutMs,
      console: this.#console,
    });
    await this.#record();
  }

  async #preparePage(browser: BrowserProcess): Promise<Page> {
    const page = (await browser.browser.pages())[0] ?? (await browser.browser.newPage());
    page.on('error', this.#onCrash);
    // A dialog would stop the page until somebody answers, and nobody sits here; downloads would fill the disk.
    page.on('dialog', (dialog) => {
      void dialog.dismiss().catch(() => undefined);
    });
    const session = await page.createCDPSession();
    await session.send('Browser.setDownloadBehavior', { behavior: 'deny' });
    await this.#console.attach(session);
    this.#console.events.on('end_recording', () => {
      this.#end();
    });
    return page;
  }

  #recorderOptions(server: TemplateServer, captureTabTitle: string): RecorderTabOptions {
    return {
      ...this.#options,
      captureTabTitle,
      baseUrl: server.baseUrl,
      socketUrl: `ws://127.0.0.1:${server.port}${this.#socket.path}`,
      onCrash: this.#onCrash,
    };
  }

  async #synchronise(): Promise<void> {
    await this.#capture.synchronise();
    this.#capture.events.on('failed', (error) => {
      this.#die(error);
    });
  }

  #startSignal(): Promise<void> {
    return this.#options.awaitStartSignal
      ? new Promise<void>((resolve) => {
          this.#console.events.once('start_recording', () => {
            resolve();
          });
        })
      : Promise.resolve();
  }

  async #record(): Promise<void> {
    const { width, height, audioCodec } = this.#options;
    this.events.emit('format', { kind: 'video', codec: 'h264', width, height });
    if (audioCodec !== 'none') {
      this.#startTranscoder(audioCodec, await this.#capture.audioSampleRateHz());
    }
    this.#capture.events.on('video', (packet) => {
      this.#emitPacket(packet);
    });
    await this.#capture.record();
    this.#isRecording = true;
  }

  #startTranscoder(codec: 'aac' | 'opus', sampleRateHz: number): void {
    const { ffmpegPath, audioBitrateKbps: bitrateKbps, audioSampleRateHz, logger } = this.#options;
    const transcoder = createAudioTranscoder({
      ffmpegPath,
      input: { codec: 'pcm_s16le', sampleRateHz, channels: 2 },
      output:
        codec === 'opus'
          ? { codec, sampleRateHz: 48_000, channels: 2, bitrateKbps }
          : { codec, sampleRateHz: audioSampleRateHz, channels: 2, bitrateKbps },
      logger,
    });
    this.#transcoder = transcoder;
    this.#own(() => transcoder.close());
    transcoder.events.on('format', (format) => {
      this.events.emit('format', format);
    });
    transcoder.events.on('packet', (packet) => {
      this.#emitPacket(packet);
    });
    transcoder.events.on('closed', ({ error }) => {
      if (error !== undefined) {
        this.#die(ServiceError.from(error));
      }
    });
    this.#capture.events.on('pcm', (pcm) => {
      transcoder.write(pcm);
    });
  }

  async #stop(): Promise<void> {
    this.#hasEnded = true;
    if (this.#isRecording) {
      await this.#capture.stop();
      await Promise.all([this.#transcoder?.close(), this.#leavePage()]);
      this.#options.logger.info({ ...this.#capture.stats }, 'page capture stopped');
    }
  }

  async #close(cause: string): Promise<void> {
    this.#hasEnded = true;
    this.#die(new ServiceError('canceled', `page source closed: ${cause}`));
    this.#capture.close();
    this.#socket.close();
    await this.#freeAll();
    // A start still under way may have opened more meanwhile.
    await this.#starting?.catch(() => undefined);
    await this.#freeAll();
    this.events.removeAll();
  }

  /** The last one opened goes first. */
  async #freeAll(): Promise<void> {
    for (let free = this.#cleanups.pop(); free !== undefined; free = this.#cleanups.pop()) {
      await free();
    }
  }

  #own(free: () => Promise<void>): void {
    this.#cleanups.push(free);
  }

  #emitPacket(packet: EncodedPacket): void {
    if (packet.ptsUs < 0) {
      // The audio clock settles within microseconds of 0 and may land just before it.
      packet.ptsUs = 0;
      packet.dtsUs = 0;
    }
    this.events.emit('packet', packet);
  }

  #end(): void {
    if (!this.#isRecording) {
      this.#die(
        new ServiceError(
          'failed_precondition',
          `Start signal not received: the page printed END_RECORDING first; its console last said: ${this.#console.lastWords()}`,
        ),
      );
    } else if (!this.#hasEnded) {
      this.#hasEnded = true;
      this.events.emit('ended', { reason: 'source_closed' });
    }
  }

  readonly #onCrash = (error: Error): void => {
    this.#die(pageCrashed(error));
  };

  #fail(error: ServiceError): void {
    if (this.#isRecording && !this.#hasEnded) {
      this.#hasEnded = true;
      this.events.emit('ended', { reason: 'failed', error });
    }
  }
}
