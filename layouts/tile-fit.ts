import type { Placement, Rect, Tile, Viewport } from './layout-types.ts';

/** More than this part of a camera picture is never cropped away. */
const MAX_CROP = 0.4;

/** Space between tiles and to the edge, in proportion to the picture. */
export function gapFor(viewport: Viewport): number {
  return Math.max(2, Math.round(Math.min(viewport.width, viewport.height) * 0.012));
}

/** Crops a camera that nearly has the tile's shape, and never crops a screen share. */
export function fitOf(tile: Tile, rect: Rect): 'cover' | 'contain' {
  if (tile.role === 'screen') {
    return 'contain';
  }
  if (tile.aspectRatio === undefined || rect.height === 0) {
    return 'cover';
  }
  const ratio = tile.aspectRatio / (rect.width / rect.height);
  return 1 - Math.min(ratio, 1 / ratio) <= MAX_CROP ? 'cover' : 'contain';
}

/** The largest rect with an aspect ratio between `min` and `max` centred in `box`. */
export function clampAspect(box: Rect, min: number, max: number): Rect {
  const ratio = box.width / box.height;
  const wanted = Math.min(Math.max(ratio, min), max);
  const width = ratio > wanted ? box.height * wanted : box.width;
  const height = ratio > wanted ? box.height : box.width / wanted;
  return { x: box.x + (box.width - width) / 2, y: box.y + (box.height - height) / 2, width, height };
}

/** Rounded down to whole pixels: video edges stay crisp and nothing grows into a neighbour. */
export function place(tile: Tile, rect: Rect, where: Placement['place']): Placement {
  const x = Math.ceil(rect.x);
  const y = Math.ceil(rect.y);
  const pixels = {
    x,
    y,
    width: Math.max(1, Math.floor(rect.x + rect.width + 1e-6) - x),
    height: Math.max(1, Math.floor(rect.y + rect.height + 1e-6) - y),
  };
  return { id: tile.id, ...pixels, fit: fitOf(tile, pixels), place: where };
}
