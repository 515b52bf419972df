import { describe, expect, test } from 'vitest';
import { chooseLayout } from '../../../layouts/layout-choice.ts';
import type { Placement, Tile, Viewport } from '../../../layouts/layout-types.ts';

const VIEWPORTS: Viewport[] = [
  { width: 1280, height: 720 },
  { width: 1920, height: 1080 },
  { width: 720, height: 1280 },
  { width: 640, height: 640 },
  { width: 320, height: 180 },
  { width: 16, height: 16 },
];

function tiles(count: number, options: { screen?: boolean; aspectRatio?: number } = {}): Tile[] {
  return Array.from({ length: count }, (_, index) => ({
    id: `t${index}`,
    role: options.screen === true && index === 0 ? 'screen' : 'camera',
    aspectRatio: options.aspectRatio ?? 16 / 9,
  }));
}

function overlap(a: Placement, b: Placement): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

describe.each(['grid', 'speaker', 'single-speaker'])('%s', (name) => {
  test.each(VIEWPORTS)('keeps 0..50 tiles apart and inside $width x $height', (viewport) => {
    for (let count = 0; count <= 50; count += 1) {
      const placed = chooseLayout(name, false).arrange(tiles(count), viewport);
      expect(placed.length > 0).toBe(count > 0);
      expect(placed.map((p) => p.id)).toEqual(tiles(placed.length).map((t) => t.id));
      for (const [index, tile] of placed.entries()) {
        expect(tile.x).toBeGreaterThanOrEqual(0);
        expect(tile.y).toBeGreaterThanOrEqual(0);
        expect(tile.width).toBeGreaterThanOrEqual(1);
        expect(tile.height).toBeGreaterThanOrEqual(1);
        expect(tile.x + tile.width).toBeLessThanOrEqual(viewport.width);
        expect(tile.y + tile.height).toBeLessThanOrEqual(viewport.height);
        expect(placed.slice(index + 1).some((other) => overlap(tile, other))).toBe(false);
      }
    }
  });
});

describe('grid', () => {
  test('gives all tiles one size and a camera shape', () => {
    for (let count = 2; count <= 30; count += 1) {
      const placed = chooseLayout('grid', false).arrange(tiles(count), { width: 1280, height: 720 });
      expect(placed).toHaveLength(count);
      for (const tile of placed) {
        expect(Math.abs(tile.width - (placed[0]?.width ?? 0))).toBeLessThanOrEqual(1);
        expect(tile.width / tile.height).toBeGreaterThan(1.29);
        expect(tile.width / tile.height).toBeLessThan(1.82);
      }
    }
  });

  test('four people share a wide picture two by two', () => {
    const placed = chooseLayout('grid', false).arrange(tiles(4), { width: 1280, height: 720 });
    expect(new Set(placed.map((p) => p.x)).size).toBe(2);
    expect(new Set(placed.map((p) => p.y)).size).toBe(2);
    const used = placed.reduce((area, p) => area + p.width * p.height, 0);
    expect(used / (1280 * 720)).toBeGreaterThan(0.9);
  });

  test('two people are side by side when wide, stacked when tall', () => {
    const wide = chooseLayout('grid', false).arrange(tiles(2), { width: 1280, height: 720 });
    const tall = chooseLayout('grid', false).arrange(tiles(2), { width: 720, height: 1280 });
    expect(wide[0]?.y).toBe(wide[1]?.y);
    expect(tall[0]?.x).toBe(tall[1]?.x);
  });
});

describe('speaker', () => {
  test.each([
    { width: 1280, height: 720 },
    { width: 720, height: 1280 },
  ])('gives the stage most of $width x $height', (viewport) => {
    const placed = chooseLayout('speaker', false).arrange(tiles(9), viewport);
    const [stage, ...strip] = placed;
    expect(stage?.place).toBe('stage');
    expect(strip.length).toBeGreaterThanOrEqual(3);
    expect(strip.every((tile) => tile.place === 'strip')).toBe(true);
    expect(((stage?.width ?? 0) * (stage?.height ?? 0)) / (viewport.width * viewport.height)).toBeGreaterThan(
      0.6,
    );
  });
});

describe('fit', () => {
  test('a screen share is shown whole, a camera of nearly the right shape is cropped', () => {
    const placed = chooseLayout('speaker', true).arrange(tiles(3, { screen: true }), {
      width: 1280,
      height: 720,
    });
    expect(placed.map((p) => p.fit)).toEqual(['contain', 'cover', 'cover']);
  });

  test('a phone held upright is not cropped to its middle', () => {
    const [only] = chooseLayout('grid', false).arrange(tiles(1, { aspectRatio: 9 / 16 }), {
      width: 1280,
      height: 720,
    });
    expect(only?.fit).toBe('contain');
  });
});

describe('chooseLayout', () => {
  test.each([
    ['grid', false, 'grid', 'dark'],
    ['grid-light', false, 'grid', 'light'],
    ['grid-dark', true, 'speaker', 'dark'],
    ['speaker-light', true, 'speaker', 'light'],
    ['single-speaker-light', true, 'single-speaker', 'light'],
    ['', false, 'grid', 'dark'],
    ['no-such-layout', false, 'grid', 'dark'],
  ] as const)('%j with screen share %s is %s, %s', (name, screen, layout, theme) => {
    expect(chooseLayout(name, screen)).toMatchObject({ name: layout, theme });
  });
});
