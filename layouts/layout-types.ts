/** Geometry only: CSS pixels, origin top left. Nothing here knows LiveKit or the DOM. */
export type Viewport = { width: number; height: number };

export type Rect = { x: number; y: number; width: number; height: number };

/** One thing to show. The order of a tile list is its importance: the first one gets the stage. */
export type Tile = {
  id: string;
  role: 'camera' | 'screen';
  /** Width divided by height of the picture; undefined while unknown or when there is no picture. */
  aspectRatio: number | undefined;
};

export type Placement = Rect & {
  id: string;
  /** cover crops the picture to fill the tile; contain shows all of it with bars. */
  fit: 'cover' | 'contain';
  /** stage tiles carry the attention, strip tiles accompany it. */
  place: 'stage' | 'strip';
};

/** Places the first tiles that fit legibly; tiles without a placement are not shown. */
export type Layout = (tiles: readonly Tile[], viewport: Viewport) => Placement[];
