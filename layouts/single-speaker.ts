import { place } from './tile-fit.ts';
import type { Placement, Tile, Viewport } from './layout-types.ts';

/** The first tile fills the picture; nothing else is shown. */
export function singleSpeaker(tiles: readonly Tile[], viewport: Viewport): Placement[] {
  const first = tiles[0];
  return first === undefined
    ? []
    : [place(first, { x: 0, y: 0, width: viewport.width, height: viewport.height }, 'stage')];
}
