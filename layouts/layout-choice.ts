import { grid } from './grid.ts';
import { singleSpeaker } from './single-speaker.ts';
import { speaker } from './speaker.ts';
import type { Layout } from './layout-types.ts';

export type LayoutName = 'grid' | 'speaker' | 'single-speaker';
export type Theme = 'dark' | 'light';

const LAYOUTS: Record<LayoutName, Layout> = { grid, speaker, 'single-speaker': singleSpeaker };

export type LayoutChoice = { name: LayoutName; theme: Theme; arrange: Layout };

/**
 * Reads a layout name of LiveKit's egress API: `grid`, `speaker`, `single-speaker`, each also with `-light`
 * or `-dark`. Unknown names show the grid, as LiveKit's default template does. With a screen share the grid
 * becomes the speaker layout, so that the shared screen stays readable.
 */
export function chooseLayout(name: string, hasScreenShare: boolean): LayoutChoice {
  const theme: Theme = name.endsWith('-light') ? 'light' : 'dark';
  const base = name.replace(/-(light|dark)$/, '');
  const known: LayoutName = base === 'speaker' || base === 'single-speaker' ? base : 'grid';
  const effective = known === 'grid' && hasScreenShare ? 'speaker' : known;
  return { name: effective, theme, arrange: LAYOUTS[effective] };
}
