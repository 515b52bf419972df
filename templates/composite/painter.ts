import { drawLabel, font, textSizePx } from './labels.ts';
import { PALETTES, type Palette } from './palette.ts';
import type { PictureQueue } from './picture-queue.ts';
import type { Scene, SceneTile } from './scene.ts';

type Context = OffscreenCanvasRenderingContext2D;

/** What lies over a tile's picture; made anew with each scene. */
type Overlay = {
  corners: Path2D | undefined;
  label: OffscreenCanvas;
  labelX: number;
  labelY: number;
};

const EMPTY: Scene = {
  width: 2,
  height: 2,
  theme: 'dark',
  tiles: [],
  emptyText: undefined,
  moreText: undefined,
};

/**
 * Paints the stage into a canvas. What did not change stays as it is: a tick repaints only the tiles that have a
 * new frame.
 */
export class Painter {
  readonly #pictures: ReadonlyMap<number, PictureQueue>;
  #canvas: OffscreenCanvas;
  #g: Context;
  #scene = EMPTY;
  #overlays: Overlay[] = [];
  #isStale = true;

  constructor(canvas: OffscreenCanvas, pictures: ReadonlyMap<number, PictureQueue>) {
    this.#pictures = pictures;
    this.#canvas = canvas;
    this.#g = contextOf(canvas);
  }

  get canvas(): OffscreenCanvas {
    return this.#canvas;
  }

  /** Goes on in another canvas. */
  moveTo(canvas: OffscreenCanvas): void {
    this.#canvas = canvas;
    this.#g = contextOf(canvas);
    this.#resize();
  }

  setScene(scene: Scene): void {
    this.#scene = scene;
    this.#resize();
    const palette = PALETTES[scene.theme];
    this.#overlays = scene.tiles.map((tile) => overlayOf(tile, scene, palette));
  }

  /** Paints what is new; `advanced` names the pictures that have another frame than last time. False: nothing is. */
  paint(advanced: ReadonlySet<number>): boolean {
    const { tiles } = this.#scene;
    if (this.#isStale) {
      this.#isStale = false;
      this.#paintAll();
      return true;
    }
    let changed = false;
    for (const [index, tile] of tiles.entries()) {
      if (tile.pictureId !== undefined && advanced.has(tile.pictureId)) {
        this.#paintTile(tile, this.#overlays[index]);
        changed = true;
      }
    }
    if (changed) {
      this.#paintNotes();
    }
    return changed;
  }

  #resize(): void {
    const { width, height } = this.#scene;
    if (this.#canvas.width !== width || this.#canvas.height !== height) {
      this.#canvas.width = width;
      this.#canvas.height = height;
    }
    this.#isStale = true;
  }

  #paintAll(): void {
    const { width, height, theme, tiles } = this.#scene;
    this.#g.fillStyle = PALETTES[theme].background;
    this.#g.fillRect(0, 0, width, height);
    for (const [index, tile] of tiles.entries()) {
      this.#paintTile(tile, this.#overlays[index]);
    }
    this.#paintNotes();
  }

  #paintTile(tile: SceneTile, overlay: Overlay | undefined): void {
    const g = this.#g;
    const palette = PALETTES[this.#scene.theme];
    const frame = tile.pictureId === undefined ? undefined : this.#pictures.get(tile.pictureId)?.pacer.shown;
    if (frame === undefined || tile.fit === 'contain') {
      g.fillStyle = tile.role === 'screen' ? palette.screen : palette.tile;
      g.fillRect(tile.x, tile.y, tile.width, tile.height);
    }
    if (frame === undefined) {
      paintAvatar(g, tile);
    } else {
      paintFrame(g, tile, frame);
    }
    if (overlay === undefined) {
      return;
    }
    if (overlay.corners !== undefined) {
      g.fillStyle = palette.background;
      g.fill(overlay.corners, 'evenodd');
    }
    g.drawImage(overlay.label, overlay.labelX, overlay.labelY);
    if (tile.isSpeaking && !tile.isFull) {
      paintRing(g, tile, this.#scene, palette.voice);
    }
  }

  #paintNotes(): void {
    const { width, height, theme, emptyText, moreText } = this.#scene;
    const palette = PALETTES[theme];
    const fontPx = textSizePx(width, height);
    if (emptyText !== undefined) {
      this.#g.fillStyle = palette.quiet;
      writeCentred(this.#g, emptyText, width / 2, height / 2, font(fontPx));
    }
    if (moreText !== undefined) {
      const { plate, plateInk: ink } = palette;
      const label = drawLabel({ text: moreText, fontPx, plate, ink, isMuted: false }, width);
      this.#g.drawImage(label, width - fontPx - label.width, height - fontPx - label.height);
    }
  }
}

function overlayOf(tile: SceneTile, scene: Scene, palette: Palette): Overlay {
  const fontPx = textSizePx(scene.width, scene.height) * (tile.place === 'strip' ? 0.82 : 1);
  const label = drawLabel(
    { text: tile.name, fontPx, plate: palette.plate, ink: palette.plateInk, isMuted: tile.isMuted },
    tile.width - 1.4 * fontPx,
  );
  let corners: Path2D | undefined;
  if (!tile.isFull) {
    corners = new Path2D();
    corners.rect(tile.x, tile.y, tile.width, tile.height);
    corners.roundRect(tile.x, tile.y, tile.width, tile.height, radiusOf(scene));
  }
  return {
    corners,
    label,
    labelX: Math.round(tile.x + 0.7 * fontPx),
    labelY: Math.round(tile.y + tile.height - 0.7 * fontPx - label.height),
  };
}

function radiusOf({ width, height }: Scene): number {
  return Math.min(width, height) * 0.012;
}

/** `cover` crops the frame to the tile's shape, `contain` leaves bars. */
function paintFrame(g: Context, tile: SceneTile, frame: VideoFrame): void {
  const { displayWidth: frameWidth, displayHeight: frameHeight } = frame;
  const { x, y, width, height } = tile;
  if (tile.fit === 'contain') {
    const scale = Math.min(width / frameWidth, height / frameHeight);
    const shownWidth = Math.round(frameWidth * scale);
    const shownHeight = Math.round(frameHeight * scale);
    g.drawImage(
      frame,
      x + Math.round((width - shownWidth) / 2),
      y + Math.round((height - shownHeight) / 2),
      shownWidth,
      shownHeight,
    );
    return;
  }
  const scale = Math.max(width / frameWidth, height / frameHeight);
  const cutWidth = width / scale;
  const cutHeight = height / scale;
  g.drawImage(
    frame,
    (frameWidth - cutWidth) / 2,
    (frameHeight - cutHeight) / 2,
    cutWidth,
    cutHeight,
    x,
    y,
    width,
    height,
  );
}

function paintAvatar(g: Context, tile: SceneTile): void {
  const { x, y, width, height } = tile;
  const centreX = x + width / 2;
  const centreY = y + height / 2;
  g.fillStyle = tile.colour;
  g.beginPath();
  g.arc(centreX, centreY, Math.min(0.38 * height, 0.3 * width) / 2, 0, 2 * Math.PI);
  g.fill();
  g.fillStyle = '#fff';
  writeCentred(g, tile.initials, centreX, centreY, font(Math.min(0.15 * height, 0.12 * width), 600));
}

function paintRing(g: Context, tile: SceneTile, scene: Scene, colour: string): void {
  const thickness = Math.max(2, Math.min(scene.width, scene.height) * 0.0036);
  g.strokeStyle = colour;
  g.lineWidth = thickness;
  g.beginPath();
  g.roundRect(
    tile.x + thickness / 2,
    tile.y + thickness / 2,
    tile.width - thickness,
    tile.height - thickness,
    radiusOf(scene),
  );
  g.stroke();
}

function writeCentred(g: Context, text: string, x: number, y: number, fontText: string): void {
  g.font = fontText;
  g.textAlign = 'center';
  g.textBaseline = 'middle';
  g.fillText(text, x, y);
}

function contextOf(canvas: OffscreenCanvas): Context {
  const g = canvas.getContext('2d', { alpha: false });
  if (g === null) {
    throw new Error('this browser has no 2D canvas');
  }
  return g;
}
