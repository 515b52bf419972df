const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' });
const FONTS = "Inter, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', Arial, sans-serif";
/** A microphone with a stroke through it, on a 24 by 24 grid. */
const MICROPHONE_OFF =
  'M3 3l18 18M9 9v3a3 3 0 0 0 5 2.2M15 11V6a3 3 0 0 0-5.7-1.3M5 11a7 7 0 0 0 11 5.7M19 11a7 7 0 0 1-.6 2.8M12 18v3';
/** Lengths in units of the font size. */
const PLATE = { padX: 0.65, height: 1.83, radius: 0.45, gap: 0.45, icon: 0.95 };

export type Label = { text: string; fontPx: number; plate: string; ink: string; isMuted: boolean };

/** Text size of a stage, pixels. */
export function textSizePx(width: number, height: number): number {
  return Math.max(11, Math.min(40, Math.min(width, height) * 0.021));
}

export function font(sizePx: number, weight = 400): string {
  return `${weight} ${sizePx}px ${FONTS}`;
}

/** Draws a name plate once; blitting it each frame costs next to nothing. Cuts the text with "…" at `maxWidth`. */
export function drawLabel(label: Label, maxWidth: number): OffscreenCanvas {
  const { fontPx, isMuted } = label;
  const iconWidth = isMuted ? (PLATE.icon + PLATE.gap) * fontPx : 0;
  const aroundText = 2 * PLATE.padX * fontPx + iconWidth;
  const canvas = new OffscreenCanvas(1, 1);
  const text = fitText(context(canvas, fontPx), label.text, maxWidth - aroundText);
  canvas.width = Math.max(1, Math.ceil(context(canvas, fontPx).measureText(text).width + aroundText));
  canvas.height = Math.max(1, Math.ceil(PLATE.height * fontPx));
  const g = context(canvas, fontPx);
  g.fillStyle = label.plate;
  g.beginPath();
  g.roundRect(0, 0, canvas.width, canvas.height, PLATE.radius * fontPx);
  g.fill();
  g.fillStyle = label.ink;
  g.fillText(text, PLATE.padX * fontPx + iconWidth, canvas.height / 2);
  if (isMuted) {
    const scale = (PLATE.icon * fontPx) / 24;
    g.translate(PLATE.padX * fontPx, (canvas.height - 24 * scale) / 2);
    g.scale(scale, scale);
    g.strokeStyle = label.ink;
    g.lineWidth = 2;
    g.lineCap = 'round';
    g.stroke(new Path2D(MICROPHONE_OFF));
  }
  return canvas;
}

function context(canvas: OffscreenCanvas, fontPx: number): OffscreenCanvasRenderingContext2D {
  const g = canvas.getContext('2d');
  if (g === null) {
    throw new Error('this browser has no 2D canvas');
  }
  g.font = font(fontPx, 500);
  g.textBaseline = 'middle';
  return g;
}

function fitText(g: OffscreenCanvasRenderingContext2D, text: string, maxWidth: number): string {
  if (g.measureText(text).width <= maxWidth) {
    return text;
  }
  const letters = Array.from(graphemes.segment(text), ({ segment }) => segment);
  while (letters.length > 0 && g.measureText(`${letters.join('')}…`).width > maxWidth) {
    letters.pop();
  }
  return `${letters.join('')}…`;
}
