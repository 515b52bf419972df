import type { Logger } from '../../base/logger.ts';
import type { Bus } from '../../bus/bus.ts';
import { IngressHandler } from '../../bus/rpc-methods.ts';
import type { WhipReport } from './whip-monitor.ts';

const TIMEOUT_MS = 3_000;
/** The last word counts: an ingress that is away for a moment still gets it. */
const CLOSED_ATTEMPTS = 3;

/** Tells the ingress that started a session how it goes, in order; what is overtaken by newer news is left out. */
export class IngressNotifier {
  readonly #bus: Bus;
  readonly #logger: Logger;
  #waiting: WhipReport | undefined;
  #sending: Promise<void> | undefined;

  constructor(bus: Bus, logger: Logger) {
    this.#bus = bus;
    this.#logger = logger;
  }

  notify(report: WhipReport): void {
    this.#waiting = report;
    this.#sending ??= this.#sendAll().finally(() => {
      this.#sending = undefined;
    });
  }

  /** Resolves when everything was delivered or given up. */
  async settled(): Promise<void> {
    await this.#sending;
  }

  async #sendAll(): Promise<void> {
    for (let report = this.#waiting; report !== undefined; report = this.#waiting) {
      this.#waiting = undefined;
      await this.#send(report, report.closed ? CLOSED_ATTEMPTS : 1);
    }
  }

  async #send(report: WhipReport, attempts: number): Promise<void> {
    for (let attempt = 1; attempt <= attempts; attempt += 1) {
      try {
        await this.#bus.request(IngressHandler.whipRTCConnectionNotify, report, {
          topic: report.participantId,
          timeoutMs: TIMEOUT_MS,
        });
        return;
      } catch (error) {
        this.#logger.info(
          { err: error, closed: report.closed, attempt },
          'ingress not told about its WHIP session',
        );
      }
    }
  }
}
