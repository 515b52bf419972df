import { clampAspect, gapFor, place } from './tile-fit.ts';
import type { Placement, Rect, Tile, Viewport } from './layout-types.ts';

const MIN_ASPECT = 4 / 3;
const MAX_ASPECT = 16 / 9;
/** A tile narrower than this share of the picture shows no recognisable face. */
const MIN_TILE_SHARE = 1 / 8;

/** Equal tiles, as large as the number allows, the last row centred. */
export function grid(tiles: readonly Tile[], viewport: Viewport): Placement[] {
  const gap = gapFor(viewport);
  const single = tiles.length === 1 ? tiles[0] : undefined;
  if (single !== undefined) {
    return [place(single, { x: 0, y: 0, width: viewport.width, height: viewport.height }, 'stage')];
  }
  const shown = tiles.slice(0, capacity(viewport, gap));
  const { columns, tile } = bestArrangement(shown.length, viewport, gap);
  const rows = Math.ceil(shown.length / columns);
  const top = (viewport.height - rows * tile.height - (rows - 1) * gap) / 2;
  return shown.map((item, index) => {
    const row = Math.floor(index / columns);
    const inRow = row === rows - 1 ? shown.length - row * columns : columns;
    const left = (viewport.width - inRow * tile.width - (inRow - 1) * gap) / 2;
    const rect: Rect = {
      x: left + (index % columns) * (tile.width + gap),
      y: top + row * (tile.height + gap),
      width: tile.width,
      height: tile.height,
    };
    return place(item, rect, 'stage');
  });
}

function capacity(viewport: Viewport, gap: number): number {
  const width = Math.max(viewport.width, viewport.height) * MIN_TILE_SHARE;
  const columns = Math.max(1, Math.floor((viewport.width - gap) / (width + gap)));
  const rows = Math.max(1, Math.floor((viewport.height - gap) / (width / MAX_ASPECT + gap)));
  return columns * rows;
}

function bestArrangement(
  count: number,
  viewport: Viewport,
  gap: number,
): { columns: number; tile: { width: number; height: number } } {
  let best = { columns: 1, tile: { width: 0, height: 0 } };
  for (let columns = 1; columns <= count; columns += 1) {
    const rows = Math.ceil(count / columns);
    const width = (viewport.width - (columns + 1) * gap) / columns;
    const height = (viewport.height - (rows + 1) * gap) / rows;
    if (width <= 0 || height <= 0) {
      continue;
    }
    const tile = clampAspect({ x: 0, y: 0, width, height }, MIN_ASPECT, MAX_ASPECT);
    if (tile.width * tile.height > best.tile.width * best.tile.height) {
      best = { columns, tile };
    }
  }
  return best;
}
