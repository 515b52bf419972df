import type { CDPSession } from 'puppeteer';
import { redactText } from '../../base/redact.ts';
import { SafeEmitter } from '../../base/events.ts';
import type { Logger } from '../../base/logger.ts';

const MAX_LINES = 50;
const MAX_LINE_LENGTH = 300;
/** Lines that reach our log; a page that prints every frame must not fill the disk. */
const MAX_LOGGED_LINES = 500;

export type PageConsoleEvents = {
  start_recording: undefined;
  end_recording: undefined;
};

type RemoteArgument = { type: string; value?: unknown; description?: string };

/**
 * Listens to what the page prints: LiveKit's template contract (START_RECORDING, END_RECORDING as one console
 * argument) and the last lines, redacted and bounded, for error messages. Raw protocol events are used
 * because Puppeteer's own keep every logged object alive inside the page.
 */
export class PageConsole {
  readonly events: SafeEmitter<PageConsoleEvents>;
  readonly #logger: Logger;
  readonly #lines: string[] = [];
  #logged = 0;

  constructor(logger: Logger) {
    this.#logger = logger;
    this.events = new SafeEmitter(logger);
  }

  /** Call before the page is opened: a fast page prints START_RECORDING while it loads. */
  async attach(session: CDPSession): Promise<void> {
    session.on('Runtime.consoleAPICalled', (event) => {
      this.addCall(event.type, event.args);
    });
    session.on('Runtime.exceptionThrown', ({ exceptionDetails }) => {
      this.#addLine('exception', exceptionDetails.exception?.description ?? exceptionDetails.text);
    });
    session.on('Log.entryAdded', ({ entry }) => {
      this.#addLine(entry.level, `${entry.text}${entry.url === undefined ? '' : ` (${entry.url})`}`);
    });
    await Promise.all([session.send('Runtime.enable'), session.send('Log.enable')]);
  }

  addCall(type: string, args: readonly RemoteArgument[]): void {
    for (const { value } of args) {
      if (value === 'START_RECORDING') {
        this.events.emit('start_recording', undefined);
      } else if (value === 'END_RECORDING') {
        this.events.emit('end_recording', undefined);
      }
    }
    this.#addLine(type, args.map(textOf).join(' '));
  }

  /** The last lines, newest last. */
  get lines(): readonly string[] {
    return this.#lines;
  }

  /** The tail for an error message; empty when the page was silent. */
  lastWords(count = 3): string {
    return this.#lines.slice(-count).join(' | ');
  }

  #addLine(level: string, text: string): void {
    // Cut first: a page may print megabytes; cut again: redaction may lengthen.
    const line = redactText(text.slice(0, MAX_LINE_LENGTH * 4)).slice(0, MAX_LINE_LENGTH);
    this.#lines.push(`${level}: ${line}`);
    if (this.#lines.length > MAX_LINES) {
      this.#lines.shift();
    }
    if (this.#logged < MAX_LOGGED_LINES) {
      this.#logged += 1;
      this.#logger.debug({ level, line }, 'page console');
    }
  }
}

function textOf(argument: RemoteArgument): string {
  if (typeof argument.value === 'string') {
    return argument.value;
  }
  return argument.value === undefined
    ? (argument.description ?? argument.type)
    : JSON.stringify(argument.value);
}
