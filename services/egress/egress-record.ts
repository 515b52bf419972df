import { EgressInfo, EgressSourceType, EgressStatus, FileInfo } from '@livekit/protocol';
import { unixNs } from '../base/clock.ts';
import { messageOf, ServiceError } from '../base/errors.ts';
import { redactText } from '../base/redact.ts';
import { END_REASON_TEXT, type EndReason } from '../model/egress.ts';
import { isFinal, nextState, type EgressInput, type EgressState } from '../model/egress-state.ts';

const STATUS_BY_STATE: Readonly<Record<EgressState, EgressStatus>> = {
  starting: EgressStatus.EGRESS_STARTING,
  active: EgressStatus.EGRESS_ACTIVE,
  ending: EgressStatus.EGRESS_ENDING,
  complete: EgressStatus.EGRESS_COMPLETE,
  failed: EgressStatus.EGRESS_FAILED,
  aborted: EgressStatus.EGRESS_ABORTED,
  limit_reached: EgressStatus.EGRESS_LIMIT_REACHED,
};

export type FileFacts = {
  filename: string;
  location: string;
  sizeBytes: number;
  durationUs: number;
  startedAtNs: bigint;
  endedAtNs: bigint;
};

/**
 * The EgressInfo of one job and the only place that changes it: every change is a transition of the state table,
 * stamped and handed to `onChange` as a copy.
 */
export class EgressRecord {
  readonly #info: EgressInfo;
  readonly #onChange: (info: EgressInfo) => void;

  constructor(info: EgressInfo, onChange: (info: EgressInfo) => void) {
    this.#info = info.clone();
    this.#onChange = onChange;
  }

  get state(): EgressState {
    const entry = Object.entries(STATUS_BY_STATE).find(([, status]) => status === this.#info.status);
    return (entry?.[0] ?? 'failed') as EgressState;
  }

  get isFinal(): boolean {
    return isFinal(this.state);
  }

  snapshot(): EgressInfo {
    return this.#info.clone();
  }

  activate(): void {
    this.#apply('activate', (info) => {
      info.startedAt = info.updatedAt;
    });
  }

  /** Media ends for `reason`; outputs are being finished. */
  end(reason: EndReason): void {
    this.#apply('end', (info) => {
      info.details ||= detailsFor(reason);
    });
  }

  /** The file as it is known so far; also fills LiveKit's deprecated single result. */
  setFile(facts: FileFacts): void {
    const file = new FileInfo({
      filename: facts.filename,
      location: facts.location,
      size: BigInt(facts.sizeBytes),
      duration: BigInt(facts.durationUs) * 1000n,
      startedAt: facts.startedAtNs,
      endedAt: facts.endedAtNs,
    });
    this.#info.fileResults = [file];
    // eslint-disable-next-line @typescript-eslint/no-deprecated -- LiveKit still fills it for a single output
    this.#info.result = { case: 'file', value: file };
  }

  setManifest(location: string): void {
    this.#info.manifestLocation = location;
  }

  finish(limited: boolean): void {
    this.#apply(limited ? 'finish_limited' : 'finish', (info) => {
      info.endedAt = info.updatedAt;
      if (limited) {
        info.errorCode = 413;
      }
    });
  }

  /** Never became active, for a reason that is nobody's failure. */
  abort(reason: EndReason, error?: unknown): void {
    this.#apply('abort', (info) => {
      info.endedAt = info.updatedAt;
      info.details ||= detailsFor(reason);
      info.error = error === undefined ? END_REASON_TEXT[reason] : redactText(messageOf(error));
      info.errorCode = 412;
    });
  }

  fail(error: unknown): void {
    this.#apply('fail', (info) => {
      info.endedAt = info.updatedAt;
      info.details ||= detailsFor('failure');
      info.error = redactText(messageOf(error));
      info.errorCode = errorCode(error);
    });
  }

  #apply(input: EgressInput, change: (info: EgressInfo) => void): void {
    const next = nextState(this.state, input);
    if (next === undefined) {
      return;
    }
    this.#info.status = STATUS_BY_STATE[next];
    this.#info.updatedAt = unixNs();
    change(this.#info);
    this.#onChange(this.#info.clone());
  }
}

/** HTTP status of the error's code; 0 for what nobody typed, as LiveKit. */
function errorCode(error: unknown): number {
  return error instanceof ServiceError && error.code !== 'unknown' ? error.httpStatus : 0;
}

function detailsFor(reason: EndReason): string {
  return `End reason: ${END_REASON_TEXT[reason]}`;
}

export function encodeInfo(info: EgressInfo): string {
  return Buffer.from(info.toBinary()).toString('base64');
}

export function decodeInfo(text: string): EgressInfo {
  return EgressInfo.fromBinary(Buffer.from(text, 'base64'));
}

export function sourceTypeOf(kind: 'template' | 'track'): EgressSourceType {
  return kind === 'template' ? EgressSourceType.WEB : EgressSourceType.SDK;
}
