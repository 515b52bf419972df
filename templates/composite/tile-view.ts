import type { Placement } from '../../layouts/layout-types.ts';
import { initialsOf } from './initials.ts';
import type { RoomTile } from './room-tiles.ts';

const AVATAR_COLOURS = [
  '#4f6bed',
  '#0f8b8d',
  '#b5446e',
  '#8f5fd7',
  '#c4622d',
  '#3a7d44',
  '#2f7fb8',
  '#a1433f',
];
const FLOWING_FRAMES = 4;
const MICROPHONE_OFF =
  '<svg viewBox="0 0 24 24"><path d="M3 3l18 18M9 9v3a3 3 0 0 0 5 2.2M15 11V6a3 3 0 0 0-5.7-1.3M5 11a7 7 0 0 0 11 5.7M19 11a7 7 0 0 1-.6 2.8M12 18v3"/></svg>';

/** The DOM of one tile. Attributes are written only when they change: every write costs a repaint. */
export class TileView {
  readonly element = document.createElement('div');
  readonly #name = document.createElement('b');
  readonly #initials = document.createElement('span');
  readonly #onPictureChange: () => void;
  #video: HTMLVideoElement | undefined;
  #track: RoomTile['videoTrack'];
  #requested = '';
  #framesShown = 0;

  constructor(tile: RoomTile, onPictureChange: () => void) {
    this.#onPictureChange = onPictureChange;
    this.element.className = 'tile';
    this.element.dataset['role'] = tile.role;
    const avatar = document.createElement('div');
    avatar.className = 'avatar';
    avatar.append(this.#initials);
    this.#initials.style.background = colourOf(tile.identity);
    const plate = document.createElement('div');
    plate.className = 'name';
    plate.innerHTML = MICROPHONE_OFF;
    plate.append(this.#name);
    const ring = document.createElement('div');
    ring.className = 'ring';
    this.element.append(avatar, plate, ring);
  }

  /** Width by height of the picture; undefined before its first frame. */
  get aspectRatio(): number | undefined {
    const { videoWidth = 0, videoHeight = 0 } = this.#video ?? {};
    return videoHeight === 0 ? undefined : videoWidth / videoHeight;
  }

  get showsPicture(): boolean {
    return this.#framesShown > 0;
  }

  /** The first frame comes at once, the next ones after the playout delay: by now it moves. */
  get isFlowing(): boolean {
    return this.#framesShown >= FLOWING_FRAMES;
  }

  update(tile: RoomTile, placement: Placement, isFull: boolean): void {
    this.#setTrack(tile.videoTrack);
    setText(this.#name, tile.name);
    setText(this.#initials, initialsOf(tile.name));
    this.#set('muted', String(tile.isMuted));
    this.#set('speaking', String(tile.isSpeaking));
    this.#set('fit', placement.fit);
    this.#set('place', placement.place);
    this.#set('full', String(isFull));
    const box = `left:${placement.x}px;top:${placement.y}px;width:${placement.width}px;height:${placement.height}px`;
    if (this.element.style.cssText !== box) {
      this.element.setAttribute('style', box);
    }
    this.#requestSize(tile, placement.width, placement.height);
  }

  remove(): void {
    this.#setTrack(undefined);
    this.element.remove();
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
    if (this.#video !== undefined) {
      this.#track?.detach(this.#video);
      this.#video.remove();
      this.#video = undefined;
      this.#framesShown = 0;
      this.#set('picture', 'false');
    }
    this.#track = track;
    if (track !== undefined) {
      this.#video = this.#createVideo(track);
    }
  }

  #createVideo(track: NonNullable<RoomTile['videoTrack']>): HTMLVideoElement {
    const video = document.createElement('video');
    video.muted = true;
    video.playsInline = true;
    video.addEventListener('resize', () => this.#onPictureChange());
    this.#framesShown = 0;
    this.#countFrame(video);
    this.element.prepend(video);
    track.attach(video);
    return video;
  }

  #countFrame(video: HTMLVideoElement): void {
    video.requestVideoFrameCallback(() => {
      if (video !== this.#video) {
        return;
      }
      this.#framesShown += 1;
      if (this.#framesShown === 1) {
        // The avatar stays until there is a picture: no black flash when someone joins.
        this.#set('picture', 'true');
        this.#onPictureChange();
      }
      if (this.#framesShown < FLOWING_FRAMES) {
        this.#countFrame(video);
      }
    });
  }

  #set(name: string, value: string): void {
    if (this.element.dataset[name] !== value) {
      this.element.dataset[name] = value;
    }
  }
}

function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

function colourOf(identity: string): string {
  let hash = 7;
  for (const character of identity) {
    hash = (hash * 31 + (character.codePointAt(0) ?? 0)) % 9973;
  }
  return AVATAR_COLOURS[hash % AVATAR_COLOURS.length] ?? '#4f6bed';
}
