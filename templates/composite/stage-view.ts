import type { RemoteVideoTrack } from 'livekit-client';
import { chooseLayout } from '../../layouts/layout-choice.ts';
import { StageOrder } from '../../layouts/stage-order.ts';
import type { RecorderOptions } from '../../services/egress/capture/recorder-protocol.ts';
import type { RoomTile } from './room-tiles.ts';
import type { SceneTile } from './scene.ts';
import { StagePainter } from './stage-painter.ts';
import { TileView } from './tile-view.ts';

/** Pixels asked for a picture that is not shown: it can come on stage at once, a little soft at first. */
const HIDDEN_SIZE = { width: 160, height: 90 };

/** Arranges the room's tiles in the layout asked for, and has them painted. */
export class StageView {
  readonly #views = new Map<string, TileView>();
  readonly #order = new StageOrder();
  readonly #painter: StagePainter;
  #layoutName: string;
  #tiles: readonly RoomTile[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(canvas: HTMLCanvasElement, layoutName: string) {
    this.#layoutName = layoutName;
    this.#painter = new StagePainter((id, progress) => {
      const view = [...this.#views.values()].find(({ pictureId }) => pictureId === id);
      if (view !== undefined) {
        view.onProgress(progress);
        this.#arrange();
      }
    });
    this.#painter.showIn(canvas);
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

  /** How far the picture of a track comes out of Chrome's buffers ahead of its sound. */
  setLead(track: RemoteVideoTrack, leadMs: number): void {
    [...this.#views.values()].find((view) => view.track === track)?.setLead(leadMs);
  }

  record(options: RecorderOptions): Promise<{ hasAudio: boolean }> {
    return this.#painter.record(options);
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
    this.#removeAllBut(new Set(placements.map(({ id }) => id)), tiles);
    const sceneTiles = placements.flatMap((placement): SceneTile[] => {
      const tile = tiles.get(placement.id);
      const isFull = placement.width === viewport.width && placement.height === viewport.height;
      return tile === undefined ? [] : [this.#view(tile).update(tile, placement, isFull)];
    });
    const hiddenCount = layout.name === 'single-speaker' ? 0 : ordered.length - placements.length;
    this.#painter.setScene({
      ...viewport,
      theme: layout.theme,
      tiles: sceneTiles,
      emptyText: ordered.length === 0 ? 'No one is here at the moment' : undefined,
      moreText: hiddenCount > 0 ? `+${hiddenCount}` : undefined,
    });
  }

  #removeAllBut(shown: ReadonlySet<string>, tiles: ReadonlyMap<string, RoomTile>): void {
    for (const [id, view] of this.#views) {
      if (!shown.has(id)) {
        view.remove();
        this.#views.delete(id);
        tiles.get(id)?.publication?.setVideoDimensions(HIDDEN_SIZE);
      }
    }
  }

  #view(tile: RoomTile): TileView {
    let view = this.#views.get(tile.id);
    if (view === undefined) {
      view = new TileView(this.#painter);
      this.#views.set(tile.id, view);
    }
    return view;
  }
}
