import { gapFor, place } from './tile-fit.ts';
import { singleSpeaker } from './single-speaker.ts';
import type { Placement, Rect, Tile, Viewport } from './layout-types.ts';

/** Width of a strip tile: a fifth of a wide picture, a third of a tall one. */
const STRIP_SHARE = { wide: 0.184, tall: 0.31 };
const STRIP_ASPECT = 16 / 9;

/** The first tile on a stage, the next ones in a strip: at the right of a wide picture, below a tall one. */
export function speaker(tiles: readonly Tile[], viewport: Viewport): Placement[] {
  const [stage, ...others] = tiles;
  if (stage === undefined || others.length === 0) {
    return singleSpeaker(tiles, viewport);
  }
  const gap = gapFor(viewport);
  const wide = viewport.width >= viewport.height;
  const tileWidth = viewport.width * STRIP_SHARE[wide ? 'wide' : 'tall'];
  const tileHeight = tileWidth / STRIP_ASPECT;
  const [alongSize, step] = wide
    ? [viewport.height - 2 * gap, tileHeight + gap]
    : [viewport.width - 2 * gap, tileWidth + gap];
  const strip = others.slice(0, Math.max(1, Math.floor((alongSize + gap) / step)));
  const stageRect: Rect = wide
    ? { x: gap, y: gap, width: viewport.width - tileWidth - 3 * gap, height: viewport.height - 2 * gap }
    : { x: gap, y: gap, width: viewport.width - 2 * gap, height: viewport.height - tileHeight - 3 * gap };
  const start = gap + (alongSize - (strip.length * step - gap)) / 2;
  return [
    place(stage, stageRect, 'stage'),
    ...strip.map((tile, index) => {
      const along = start + index * step;
      const rect: Rect = wide
        ? { x: stageRect.x + stageRect.width + gap, y: along, width: tileWidth, height: tileHeight }
        : { x: along, y: stageRect.y + stageRect.height + gap, width: tileWidth, height: tileHeight };
      return place(tile, rect, 'strip');
    }),
  ];
}
