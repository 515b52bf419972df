import {
  EgressInfo,
  EgressSourceType,
  EgressStatus,
  FileInfo,
  ImagesInfo,
  SegmentsInfo,
  StreamInfoList,
  type StreamInfo,
} from '@livekit/protocol';
import { unixNs } from '../base/clock.ts';
import { messageOf, ServiceError } from '../base/errors.ts';
import { redactText } from '../base/redact.ts';
import { END_REASON_TEXT, type EgressJobKind, type EndReason } from '../model/egress.ts';
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

export type SegmentsFacts = {
  playlistName: string;
  /** '' = none. */
  livePlaylistName: string;
  playlistLocation: string;
  livePlaylistLocation: string;
  segments: number;
  sizeBytes: number;
  durationUs: number;
  startedAtNs: bigint;
  endedAtNs: bigint;
};

export type ImagesFacts = { filenamePrefix: string; images: number; startedAtNs: bigint; endedAtNs: bigint };

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

  /** The file as it is known so far. */
  setFile(facts: FileFacts): void {
    this.#info.fileResults = [
      new FileInfo({
        filename: facts.filename,
        location: facts.location,
        size: BigInt(facts.sizeBytes),
        duration: BigInt(facts.durationUs) * 1000n,
        startedAt: facts.startedAtNs,
        endedAt: facts.endedAtNs,
      }),
    ];
    this.#fillSingleResult();
  }

  /** The segments as they are known so far. */
  setSegments(facts: SegmentsFacts): void {
    this.#info.segmentResults = [
      new SegmentsInfo({
        playlistName: facts.playlistName,
        livePlaylistName: facts.livePlaylistName,
        playlistLocation: facts.playlistLocation,
        livePlaylistLocation: facts.livePlaylistLocation,
        segmentCount: BigInt(facts.segments),
        size: BigInt(facts.sizeBytes),
        duration: BigInt(facts.durationUs) * 1000n,
        startedAt: facts.startedAtNs,
        endedAt: facts.endedAtNs,
      }),
    ];
    this.#fillSingleResult();
  }

  /** @param index of the image output in the request. */
  setImages(index: number, facts: ImagesFacts): void {
    this.#info.imageResults[index] = new ImagesInfo({
      filenamePrefix: facts.filenamePrefix,
      imageCount: BigInt(facts.images),
      startedAt: facts.startedAtNs,
      endedAt: facts.endedAtNs,
    });
    // The list is a message field: it must have no holes.
    this.#info.imageResults = Array.from(this.#info.imageResults, (images) => new ImagesInfo(images));
  }

  /** Addresses with their keys already redacted. Tells the server at once unless the job has ended. */
  setStreams(streams: readonly StreamInfo[]): void {
    this.#info.streamResults = streams.map((stream) => stream.clone());
    this.#fillSingleResult();
    this.publish();
  }

  /** Sends what has changed without a change of state. */
  publish(): void {
    if (!this.isFinal) {
      this.#info.updatedAt = unixNs();
      this.#onChange(this.#info.clone());
    }
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

  /** LiveKit's deprecated single result is still filled when the job has one kind of output. */
  #fillSingleResult(): void {
    const { fileResults, segmentResults, streamResults, imageResults } = this.#info;
    const lists = [fileResults, segmentResults, streamResults, imageResults];
    const isSingle = lists.filter((list) => list.length > 0).length === 1;
    const [file] = fileResults;
    const [segments] = segmentResults;
    /* eslint-disable @typescript-eslint/no-deprecated -- what older clients read */
    if (!isSingle) {
      this.#info.result = { case: undefined };
    } else if (file !== undefined) {
      this.#info.result = { case: 'file', value: file };
    } else if (segments !== undefined) {
      this.#info.result = { case: 'segments', value: segments };
    } else if (streamResults.length > 0) {
      this.#info.result = { case: 'stream', value: new StreamInfoList({ info: streamResults }) };
    }
    /* eslint-enable @typescript-eslint/no-deprecated */
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

export function sourceTypeOf(kind: EgressJobKind): EgressSourceType {
  return kind === 'template' || kind === 'web' ? EgressSourceType.WEB : EgressSourceType.SDK;
}
