import type { Placement } from '../../layouts/layout-types.ts';
import type { Theme } from '../../layouts/layout-choice.ts';
import type { RecorderOptions } from '../../services/egress/capture/recorder-protocol.ts';

/** One tile as it is painted; plain data, because it crosses to the worker. */
export type SceneTile = Omit<Placement, 'id'> & {
  role: 'camera' | 'screen';
  /** Covers the whole stage: no rounded corners, no ring. */
  isFull: boolean;
  name: string;
  initials: string;
  colour: string;
  isMuted: boolean;
  isSpeaking: boolean;
  /** Whose frames it shows; undefined = no picture, the avatar stands in. */
  pictureId: number | undefined;
};

/** Everything on the stage but the frames of the pictures. */
export type Scene = {
  width: number;
  height: number;
  theme: Theme;
  tiles: SceneTile[];
  /** In the middle of an empty stage. */
  emptyText: string | undefined;
  /** In the lower right corner. */
  moreText: string | undefined;
};

/** From the page to its painting worker. */
export type PainterCommand =
  | { type: 'show'; canvas: OffscreenCanvas }
  | { type: 'scene'; scene: Scene }
  | { type: 'picture'; id: number; frames: ReadableStream<VideoFrame> }
  | { type: 'forget'; id: number }
  /** How far a picture comes out of Chrome's buffers ahead of its sound. */
  | { type: 'lead'; id: number; leadMs: number }
  | { type: 'record'; options: RecorderOptions; audio: ReadableStream<AudioData> | undefined };

/** From the painting worker to the page; `ready` and `error` answer `record`. */
export type PainterEvent =
  /** A picture's first frame, a new size, or the frame from which on it counts as moving. */
  | { type: 'progress'; id: number; width: number; height: number; framesArrived: number }
  | { type: 'ready'; ready: true }
  | { type: 'error'; error: string };

/** The first frame comes at once, the next ones after the playout delay: by then it moves. */
export const FLOWING_FRAMES = 4;
