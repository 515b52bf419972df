import type { Theme } from '../../layouts/layout-choice.ts';

export type Palette = {
  background: string;
  tile: string;
  screen: string;
  quiet: string;
  plate: string;
  plateInk: string;
  voice: string;
};

export const PALETTES: Record<Theme, Palette> = {
  dark: {
    background: '#0e1116',
    tile: '#1a1f27',
    screen: '#000',
    quiet: '#8a94a3',
    plate: 'rgb(9 11 15 / 64%)',
    plateInk: '#fff',
    voice: '#3ddc97',
  },
  light: {
    background: '#f4f5f7',
    tile: '#dde1e7',
    screen: '#cfd5dd',
    quiet: '#6b7480',
    plate: 'rgb(255 255 255 / 78%)',
    plateInk: '#14181d',
    voice: '#12a86b',
  },
};

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

/** The same person has the same colour in every recording. */
export function avatarColour(identity: string): string {
  let hash = 7;
  for (const character of identity) {
    hash = (hash * 31 + (character.codePointAt(0) ?? 0)) % 9973;
  }
  return AVATAR_COLOURS[hash % AVATAR_COLOURS.length] ?? '#4f6bed';
}
