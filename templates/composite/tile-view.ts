import type { Placement } from '../../layouts/layout-types.ts';
import { initialsOf } from './initials.ts';
import { avatarColour } from './palette.ts';
import type { RoomTile } from './room-tiles.ts';
import { FLOWING_FRAMES, type SceneTile } from './scene.ts';
import type { PictureProgress, StagePainter } from './stage-painter.ts';

/** One tile on the stage: follows its track and says how it is to be painted. */
export class TileView {
  readonly #painter: StagePainter;
  #track: RoomTile['videoTrack'];
  #pictureId: number | undefined;
  #progress: PictureProgress | undefined;
  #requested = '';

  constructor(painter: StagePainter) {
    this.#painter = painter;
  }

  get pictureId(): number | undefined {
    return this.#pictureId;
  }

  /** Width by height of the picture; undefined before its first frame. */
  get aspectRatio(): number | undefined {
    const { width = 0, height = 0 } = this.#progress ?? {};
    return height === 0 ? undefined : width / height;
  }

  get showsPicture(): boolean {
    return this.#progress !== undefined;
  }

  get isFlowing(): boolean {
    return (this.#progress?.framesArrived ?? 0) >= FLOWING_FRAMES;
  }

  get track(): RoomTile['videoTrack'] {
    return this.#track;
  }

  /** The picture comes out of Chrome's buffers so far ahead of its sound. */
  setLead(leadMs: number): void {
    if (this.#pictureId !== undefined) {
      this.#painter.setLead(this.#pictureId, leadMs);
    }
  }

  onProgress(progress: PictureProgress): void {
    this.#progress = progress;
  }

  update(tile: RoomTile, placement: Placement, isFull: boolean): SceneTile {
    this.#setTrack(tile.videoTrack);
    this.#requestSize(tile, placement.width, placement.height);
    const { x, y, width, height, fit, place } = placement;
    return {
      ...{ x, y, width, height, fit, place, isFull },
      role: tile.role,
      name: tile.name,
      initials: initialsOf(tile.name),
      colour: avatarColour(tile.identity),
      isMuted: tile.isMuted,
      isSpeaking: tile.isSpeaking,
      pictureId: this.#pictureId,
    };
  }

  remove(): void {
    this.#setTrack(undefined);
  }

  /** The room need not send more pixels than the tile shows. */
  #requestSize(tile: RoomTile, width: number, height: number): void {
    const wanted = `${tile.publication?.trackSid ?? ''} ${width}x${height}`;
    if (tile.publication !== undefined && wanted !== this.#requested) {
      this.#requested = wanted;
      tile.publication.setVideoDimensions({ width, height });
    }
  }

  #setTrack(track: RoomTile['videoTrack']): void {
    if (track === this.#track) {
      return;
    }
    if (this.#pictureId !== undefined) {
      this.#painter.removePicture(this.#pictureId);
    }
    this.#track = track;
    this.#progress = undefined;
    this.#pictureId = track === undefined ? undefined : this.#painter.addPicture(track.mediaStreamTrack);
  }
}
