import { chooseLayout } from '../../layouts/layout-choice.ts';
import { StageOrder } from '../../layouts/stage-order.ts';
import type { RoomTile } from './room-tiles.ts';
import { TileView } from './tile-view.ts';

/** Pixels asked for a picture that is not shown: it can come on stage at once, a little soft at first. */
const HIDDEN_SIZE = { width: 160, height: 90 };

/** Arranges the room's tiles in the layout asked for, and keeps their DOM. */
export class StageView {
  readonly #stage: HTMLElement;
  readonly #views = new Map<string, TileView>();
  readonly #order = new StageOrder();
  readonly #empty = note('empty', 'No one is here at the moment');
  readonly #more = note('more', '');
  #layoutName: string;
  #tiles: readonly RoomTile[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(stage: HTMLElement, layoutName: string) {
    this.#stage = stage;
    this.#layoutName = layoutName;
    addEventListener('resize', () => this.#arrange());
    this.#arrange();
  }

  /** Whether any tile shows a picture by now. */
  get showsPicture(): boolean {
    return [...this.#views.values()].some((view) => view.showsPicture);
  }

  /** Whether any tile's picture moves by now. */
  get isFlowing(): boolean {
    return [...this.#views.values()].some((view) => view.isFlowing);
  }

  setLayout(name: string): void {
    this.#layoutName = name;
    this.#arrange();
  }

  setTiles(tiles: readonly RoomTile[]): void {
    this.#tiles = tiles;
    this.#arrange();
  }

  #arrange(): void {
    clearTimeout(this.#timer);
    const nowMs = performance.now();
    const ordered = this.#order.order(this.#tiles, nowMs);
    const waitMs = this.#order.nextChangeMs(nowMs);
    if (waitMs !== undefined) {
      this.#timer = setTimeout(() => this.#arrange(), waitMs);
    }
    const layout = chooseLayout(
      this.#layoutName,
      ordered.some(({ role }) => role === 'screen'),
    );
    const viewport = { width: innerWidth, height: innerHeight };
    const placements = layout.arrange(
      ordered.map(({ id, role }) => ({ id, role, aspectRatio: this.#views.get(id)?.aspectRatio })),
      viewport,
    );
    const tiles = new Map(ordered.map((tile) => [tile.id, tile]));
    const shown = new Set(placements.map(({ id }) => id));
    for (const [id, view] of this.#views) {
      if (!shown.has(id)) {
        view.remove();
        this.#views.delete(id);
        tiles.get(id)?.publication?.setVideoDimensions(HIDDEN_SIZE);
      }
    }
    for (const placement of placements) {
      const tile = tiles.get(placement.id);
      if (tile !== undefined) {
        const isFull = placement.width === viewport.width && placement.height === viewport.height;
        this.#view(tile).update(tile, placement, isFull);
      }
    }
    this.#stage.dataset['theme'] = layout.theme;
    this.#stage.dataset['layout'] = layout.name;
    this.#annotate(ordered.length, layout.name === 'single-speaker' ? 0 : ordered.length - placements.length);
  }

  #view(tile: RoomTile): TileView {
    let view = this.#views.get(tile.id);
    if (view === undefined) {
      view = new TileView(tile, () => this.#arrange());
      this.#views.set(tile.id, view);
      this.#stage.append(view.element);
    }
    return view;
  }

  #annotate(tileCount: number, hiddenCount: number): void {
    toggle(this.#stage, this.#empty, tileCount === 0);
    this.#more.textContent = `+${hiddenCount}`;
    toggle(this.#stage, this.#more, hiddenCount > 0);
  }
}

function note(className: string, text: string): HTMLElement {
  const element = document.createElement('div');
  element.className = className;
  element.textContent = text;
  return element;
}

function toggle(parent: HTMLElement, element: HTMLElement, isShown: boolean): void {
  if (isShown) {
    parent.append(element);
  } else {
    element.remove();
  }
}
